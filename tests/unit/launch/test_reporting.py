"""What the exit handler reads from the store, on a real embedded one."""

import json

import pytest

from uae.data.starter.vocabulary import STARTER_WEIGHTS
from uae.launch.reporting import describe_run, fail_unfinished, fetch_run, read_records
from uae.launch.validation import settle_recipe
from uae.recipe_files import dump_recipe, load_recipe
from uae.store.embedded import EmbeddedStore


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with EmbeddedStore(tmp_path_factory.mktemp("store")) as server:
        yield server.store()


def put_record(store, step, status, started_at):
    record = {"step": step, "status": status, "started_at": started_at, "error": None}
    store.put_json(f"runs/one/steps/{step}.json", record | {"peak_memory_bytes": 7})


def test_unfinished_steps_are_failures_and_results_are_fetched_without_models(store, tmp_path):
    put_record(store, "cold_start", "running", "2030-01-01T02")
    put_record(store, "validate_data", "succeeded", "2030-01-01T01")
    put_record(store, "report_run", "running", "2030-01-01T03")
    store.put_bytes("runs/one/recipe.yaml", dump_recipe(load_recipe("starter")).encode())
    for name in (
        "artifacts/cold_start/model/model.json",
        "artifacts/cold_start/logs/metrics.jsonl",
        "artifacts/validate_data/dataset/train/0.tar",
        "checkpoints/cold_start/update-1/state.json",
    ):
        store.put_bytes(f"runs/one/{name}", b"{}")
    store.put_bytes("runs/other/steps/gate.json", b"{}")

    fail_unfinished(store, "runs/one")
    records = read_records(store, "runs/one")
    assert [record["step"] for record in records] == ["validate_data", "cold_start", "report_run"]
    assert [record["status"] for record in records] == ["succeeded", "failed", "running"]
    assert "killed" in records[1]["error"]["message"]

    fetch_run(store, "runs/one", tmp_path)
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
    assert found == {
        "recipe.yaml",
        "steps/cold_start.json",
        "steps/validate_data.json",
        "artifacts/cold_start/logs/metrics.jsonl",
    }
    describe_run(tmp_path, "one", succeeded=False)
    info = json.loads((tmp_path / "run.json").read_text())
    assert info["status"] == "failed"
    assert info["recipe_name"] == "starter"
    assert info["started_at"] == "2030-01-01T01"
    assert info["peak_memory_bytes"] == 7
    assert info["environment"]["kfp"]


def test_run_that_failed_at_once_can_be_described(tmp_path):
    describe_run(tmp_path, "one", succeeded=False)
    info = json.loads((tmp_path / "run.json").read_text())
    assert (info["recipe_name"], info["peak_memory_bytes"]) == ("unknown", None)


def test_settled_recipe_holds_the_runs_own_choices():
    starter = load_recipe("starter")
    assert settle_recipe("starter") == settle_recipe(dump_recipe(starter)) == starter
    base = str(STARTER_WEIGHTS / "autoencoder")
    settled = settle_recipe("starter", seed=5, base_model=base)
    assert (settled.seed, settled.models.base) == (5, base)
    assert settle_recipe("starter", seed=0).seed == 0
