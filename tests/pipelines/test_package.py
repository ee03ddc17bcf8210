"""The compiled package: its edges, its commands, and that the committed one is up to date."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from uae_pipelines.compile import PACKAGE, compile_pipeline

TRAINED = {  # step -> the step whose model it starts from
    "pretrain-decoder": None,
    "cold-start": "pretrain-decoder",
    "generation-for-understanding": "cold-start",
    "understanding-for-generation": "generation-for-understanding",
}
BENCHES = ("", "-2", "-3", "-4")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return read(compile_pipeline(tmp_path_factory.mktemp("package") / "uae.yaml"))


@pytest.fixture(scope="module")
def tasks(package: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = package["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    return found


def read(path: Path) -> dict[str, Any]:
    values: dict[str, Any] = next(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    return values


def model_of(task: dict[str, Any]) -> str | None:
    """Return the task whose model this task takes."""
    artifacts = task["inputs"].get("artifacts", {})
    given = artifacts.get("model_in") or artifacts.get("model")
    return given["taskOutputArtifact"]["producerTask"] if given else None


def test_every_step_is_there_once(tasks):
    benches = {f"evaluate-unified-bench{suffix}" for suffix in BENCHES}
    others = {"start-run", "validate-data", "gate", "export-model"}
    last = {"evaluate-geneval", "evaluate-dpg-bench"}
    assert tasks.keys() == TRAINED.keys() | benches | others | last


def test_everything_takes_recipe_and_run_from_the_first_step(tasks):
    for name, task in tasks.items():
        if name != "start-run":
            found = task["inputs"]["parameters"]
            sources = [
                found[key]["taskOutputParameter"]["producerTask"] for key in ("recipe", "run")
            ]
            assert sources == ["start-run", "start-run"], name


def test_no_step_is_told_the_execution_s_id(package):
    assert "pipeline_job_uuid" not in str(package), "it would make every cache key new"


def test_each_stage_continues_the_one_before(tasks):
    assert {name: model_of(tasks[name]) for name in TRAINED} == TRAINED


def test_unified_bench_follows_every_stage(tasks):
    judged = {}
    for suffix in BENCHES:
        task = tasks[f"evaluate-unified-bench{suffix}"]
        stage = task["inputs"]["parameters"]["stage"]["runtimeValue"]["constant"]
        judged[stage.replace("_", "-")] = model_of(task)
    assert judged == {name: name for name in TRAINED}


def test_last_evaluations_are_parallel(tasks):
    last = ["evaluate-unified-bench-4", "evaluate-geneval", "evaluate-dpg-bench"]
    for name in last:
        assert model_of(tasks[name]) == "understanding-for-generation"
        assert not set(tasks[name]["dependentTasks"]) & set(last)


def test_gate_compares_the_first_stage_with_the_last(tasks):
    inputs = tasks["gate"]["inputs"]["artifacts"]
    results = {name: i["taskOutputArtifact"]["producerTask"] for name, i in inputs.items()}
    last, first = "evaluate-unified-bench-4", "evaluate-unified-bench"
    assert results == {"candidate": last, "stage_1": first}


def test_export_waits_for_the_gate_and_for_all_that_it_reports(tasks):
    waits_for = {"evaluate-unified-bench-4", "evaluate-geneval", "evaluate-dpg-bench", "gate"}
    assert set(tasks["export-model"]["dependentTasks"]) >= waits_for
    assert model_of(tasks["export-model"]) == "understanding-for-generation"


def test_report_is_the_exit_handler(package):
    root = package["root"]["dag"]["tasks"]
    trigger = root["report-run"]["triggerPolicy"]
    assert trigger["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"
    assert root["report-run"]["dependentTasks"] == ["exit-handler-1"]


def test_parameters_have_defaults_and_are_few(package):
    parameters = package["root"]["inputDefinitions"]["parameters"]
    assert 6 <= len(parameters) <= 14
    assert all("defaultValue" in parameter for parameter in parameters.values())


def test_committed_package_is_what_the_code_compiles_to(tmp_path):
    committed, platform = yaml.safe_load_all(PACKAGE.read_text(encoding="utf-8"))
    made = tmp_path / "uae.yaml"
    found, settings = yaml.safe_load_all(compile_pipeline(made).read_text(encoding="utf-8"))
    for values in (found, committed):
        values.pop("sdkVersion", None)
    assert (committed, platform) == (found, settings), "run `uae compile --out pipelines/uae.yaml`"
