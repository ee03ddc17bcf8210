"""Somebody's own pictures, by the command that a user types: photographs through the pipeline.

They lie in an S3 store of one's own, and so does the whole run: data, records, checkpoints,
artifacts. In tests/pipelines, test_local_run has its pictures in a folder.
"""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pyarrow.parquet
import pytest
from bucket_server import BucketServer
from e2e.photographs import PHOTOGRAPHS, write_photographs

from uae.fingerprints import file_sha256
from uae.records import StepRecord
from uae.store.s3 import Store

pytestmark = pytest.mark.timeout(1200)  # two minutes on two idle cores

RECIPE = "smoke"
DATA = "pictures/mine"
STAGES = (
    "pretrain_decoder",
    "cold_start",
    "generation_for_understanding",
    "understanding_for_generation",
)
NUM_HELDOUT = 4  # a quarter of 14, rounded


class Finished(NamedTuple):
    """The run's folder, the store that it lies in too, and the pictures there before and after."""

    folder: Path
    store: Store
    before: dict[str, bytes]
    after: dict[str, bytes]


def pictures_of(store):
    return {key: store.get_bytes(key) for key in store.list(DATA)}


def restart_between_steps(bucket, log):
    """Kill the server as soon as a stage has succeeded, and start it again where it was."""
    while '"succeeded", "step": "pretrain_decoder"' not in (
        log.read_text() if log.exists() else ""
    ):
        time.sleep(0.1)
    bucket.kill()
    time.sleep(2)
    bucket.start()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    console = root / "console.txt"
    with BucketServer(tmp_path_factory.mktemp("bucket")) as bucket:
        bucket.store().put_folder(write_photographs(root / "photographs"), DATA)
        before = pictures_of(bucket.store())
        command = [sys.executable, "-m", "uae.cli", "run", "--endpoint", bucket.endpoint]
        command += ["--data", f"s3://uae/{DATA}", "--recipe", RECIPE, "--run-root", str(root)]
        others = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
        environment = others | bucket.environment()
        with console.open("w") as said:
            process = subprocess.Popen(command, stdout=said, stderr=said, cwd=root, env=environment)
        while not (folders := [p.parents[1] for p in root.glob("*/logs/pipeline.log")]):
            assert process.poll() is None, console.read_text()
            time.sleep(0.1)
        (folder,) = folders
        log = folder / "logs" / "pipeline.log"
        chaos = threading.Thread(target=restart_between_steps, args=(bucket, log), daemon=True)
        chaos.start()
        assert process.wait(1100) == 0, console.read_text()
        assert not chaos.is_alive()
        yield Finished(folder, bucket.store(), before, pictures_of(bucket.store()))


@pytest.fixture(scope="module")
def folder(finished):
    return finished.folder


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


def test_photographs_are_left_as_they_were(finished):
    assert {PurePosixPath(key).name for key in finished.before} >= {p.file for p in PHOTOGRAPHS}
    assert finished.after == finished.before


def test_whole_run_lies_in_the_bucket_though_the_server_was_restarted(finished, tmp_path):
    folder, store = finished.folder, finished.store
    prefix = f"runs/{folder.name}"
    records = [StepRecord(**store.get_json(key)) for key in store.list(f"{prefix}/steps")]
    assert len(records) == 15
    assert {record.status for record in records} == {"succeeded"}
    mirrored = [(record, name, uri) for record in records for name, uri in record.artifacts.items()]
    for record, name, uri in mirrored:
        key = uri.removeprefix("s3://uae/")
        (local,) = local_artifacts(folder, record.step, name)
        if local.is_dir():
            store.get_folder(key, tmp_path / "mirror" / record.step / name)
            for path in local.rglob("*"):
                twin = tmp_path / "mirror" / record.step / name / path.relative_to(local)
                assert path.is_dir() or file_sha256(path) == file_sha256(twin)
        else:
            store.get_file(key, tmp_path / "one")
            assert file_sha256(local) == file_sha256(tmp_path / "one") == record.digests[name]
    assert len(mirrored) >= 30
    assert not store.list(f"{prefix}/checkpoints"), "no stage is unfinished"
    assert store.exists(f"models/{folder.name}/MANIFEST.json")
    assert json.loads((folder / "metrics.json").read_text())["status"] == "succeeded"


def local_artifacts(folder: Path, step: str, name: str) -> list[Path]:
    """Return what kfp keeps of an output: below the task's name, the last run's newest."""
    task = step.split("/")[0].replace("_", "-")
    found = list((folder / "artifacts").glob(f"*/{task}*/{name}"))
    if "/" in step:  # Unified-Bench after one of four stages
        order = ("pretrain", "cold", "generation", "understanding")
        number = [step.split("/")[1].startswith(o) for o in order].index(True) + 1
        suffix = "" if number == 1 else f"-{number}"
        found = [p for p in found if p.parent.name == f"{task}{suffix}"]
    return found
