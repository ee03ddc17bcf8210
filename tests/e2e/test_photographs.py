"""Somebody's own pictures, by the command that a user types: photographs through the pipeline."""

import json
import subprocess
import sys

import pyarrow.parquet
import pytest
from e2e.photographs import PHOTOGRAPHS, write_photographs

pytestmark = pytest.mark.timeout(1200)  # two minutes on two idle cores

RECIPE = "smoke"
STAGES = (
    "pretrain_decoder",
    "cold_start",
    "generation_for_understanding",
    "understanding_for_generation",
)
NUM_HELDOUT = 4  # a quarter of 14, rounded


def run_pipeline(data, recipe, root):
    command = [sys.executable, "-m", "uae.cli", "run", "--data", str(data), "--recipe", recipe]
    command += ["--run-root", str(root)]
    return subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=1100)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_photographs(tmp_path_factory.mktemp("photographs"))


@pytest.fixture(scope="module")
def folder(data, tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    done = run_pipeline(data, RECIPE, root)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(path.parent for path in root.glob("*/request.json"))


@pytest.fixture(scope="module")
def numbers(folder):
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


def results(folder, step):
    found = list((folder / "artifacts").rglob("results.json"))
    return next(json.loads(path.read_text()) for path in found if step in path.as_posix())


def test_photographs_are_validated_and_split(folder):
    page = (folder / "data-report.html").read_text(encoding="utf-8")
    for licence in ("CC0-1.0", "CC-BY-2.0", "public-domain"):
        assert licence in page
    (data_json,) = (folder / "artifacts").rglob("data.json")
    described = json.loads(data_json.read_text(encoding="utf-8"))
    counts = {"train": len(PHOTOGRAPHS) - NUM_HELDOUT, "heldout": NUM_HELDOUT}
    assert described["counts"] == counts
    assert described["has_facts"] is False


def test_every_stage_is_trained_and_judged_on_them(folder, numbers):
    assert list(numbers["stages"]) == list(STAGES)
    for found in numbers["stages"].values():
        assert 0 < found["unified_bench"]["overall"] <= 100
        assert found["attribute_recall"] is None
        assert found["text_fidelity"] is None
    names = {one.file.rpartition(".")[0] for one in PHOTOGRAPHS}
    for table in (folder / "artifacts").rglob("samples.parquet"):
        columns = pyarrow.parquet.read_table(table).to_pydict()
        if "image_id" in columns:
            assert set(columns["image_id"]) <= names
            assert len(columns["image_id"]) == NUM_HELDOUT


def test_other_benchmarks_ask_the_shipped_scenes_and_say_so(folder, numbers):
    for benchmark in ("geneval", "dpg_bench"):
        assert numbers[benchmark] is not None
        assert results(folder, f"evaluate-{benchmark}".replace("_", "-"))["prompts"]["source"] == (
            "starter"
        )
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert report.count("prompts from the shipped starter scenes") == 2


def test_model_is_exported_with_the_photographs_licences(folder, numbers):
    assert (folder / "model" / "model_index.json").is_file()
    card = (folder / "model" / "README.md").read_text(encoding="utf-8")
    for licence in ("CC0-1.0", "CC-BY-2.0", "public-domain"):
        assert licence in card
    assert numbers["gate"]["decision"] == "reject"


def test_photographs_are_left_as_they_were(data, folder):
    assert {path.name for path in (data / "images").iterdir()} == {p.file for p in PHOTOGRAPHS}
    assert {path.name for path in data.iterdir()} == {"images", "captions.jsonl"}
