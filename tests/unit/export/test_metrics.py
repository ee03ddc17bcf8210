import json
from pathlib import Path

import pytest
from example_run import write_example_run

from uae.errors import DataError
from uae.export.metrics import Metrics, write_metrics
from uae.export.run_folder import KNOWN_STEPS, TRAINED_STAGES

DOCS = Path(__file__).parents[3] / "docs" / "metrics-json.md"


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return write_example_run(tmp_path_factory.mktemp("run"), num_samples=3)


def test_finished_run_has_everything(run_folder, tmp_path):
    write_metrics(run_folder, tmp_path / "metrics.json")
    values = json.loads((tmp_path / "metrics.json").read_text())
    assert values["version"] == 1
    assert values["run_id"] == "example-1"
    assert (values["recipe"], values["seed"]) == ("starter", 0)
    assert list(values["stages"]) == list(TRAINED_STAGES)
    assert set(values["seconds"]) == set(KNOWN_STEPS)
    assert values["seconds"]["evaluate_unified_bench/cold_start"] == 22
    assert values["wall_seconds"] == 601.5
    stage = values["stages"]["cold_start"]
    shares = {"attribute_recall", "attribute_precision", "text_fidelity"}
    assert set(stage) == {"unified_bench", "caption_words"} | shares
    assert set(stage["unified_bench"]) == {"overall", "interval", "slots"}
    assert set(stage["unified_bench"]["slots"]) == {"clip", "longclip", "dinov2", "dinov3"}
    assert values["gate"]["decision"] == "promote"
    assert values["geneval"]["score"] == 0.74


def test_failed_run_has_what_it_reached(tmp_path):
    run_folder = write_example_run(tmp_path, fails_at="generation_for_understanding", num_samples=2)
    metrics = write_metrics(run_folder, tmp_path / "metrics.json")
    assert metrics.status == "failed"
    assert list(metrics.stages) == ["pretrain_decoder", "cold_start"]
    assert metrics.geneval is None
    assert metrics.dpg_bench is None
    assert metrics.gate is None


def test_what_is_written_can_be_read(run_folder, tmp_path):
    metrics = write_metrics(run_folder, tmp_path / "metrics.json")
    assert Metrics.model_validate_json((tmp_path / "metrics.json").read_text()) == metrics


def test_every_field_is_documented():
    text = DOCS.read_text()
    schema = Metrics.model_json_schema()
    objects = [schema, *schema["$defs"].values()]
    names = {name for one in objects for name in one["properties"]}
    assert sorted(name for name in names if f"`{name}`" not in text) == []


def test_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"it has no run\.json"):
        write_metrics(tmp_path, tmp_path / "metrics.json")


def test_two_results_of_one_step_are_refused(tmp_path):
    run_folder = write_example_run(tmp_path, num_samples=2)
    step = run_folder / "artifacts" / "evaluate_geneval"
    (step / "again").mkdir()
    (step / "again" / "results.json").write_text("{}")
    with pytest.raises(DataError, match=r"left 2 files named results\.json"):
        write_metrics(run_folder, tmp_path / "metrics.json")


def test_result_with_a_missing_field_names_it(tmp_path):
    run_folder = write_example_run(tmp_path, num_samples=2)
    path = run_folder / "artifacts" / "evaluate_geneval" / "results" / "results.json"
    path.write_text('{"protocol": "geneval", "version": 1, "score": 0.5, "tasks": {}}')
    with pytest.raises(DataError, match="interval"):
        write_metrics(run_folder, tmp_path / "metrics.json")
