"""What the exit handler reads from the store, on a real embedded one, and whom it tells."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from artifact_place import Place
from example_run import write_example_run
from loopback_webhook import webhook

from uae.data.starter.vocabulary import STARTER_WEIGHTS
from uae.errors import ClusterError, DataError, StoreError
from uae.launch.ending import step_failures
from uae.launch.reporting import (
    describe_run,
    fail_unfinished,
    fetch_run,
    read_records,
    run_reporting,
)
from uae.launch.validation import settle_recipe
from uae.recipe_files import dump_recipe, load_recipe
from uae.store.embedded import EmbeddedStore
from uae.store.faults import Backoff
from uae.store.ports import free_ports


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with EmbeddedStore(tmp_path_factory.mktemp("store")) as server:
        yield server


@pytest.fixture(scope="module")
def store(server):
    return server.store()


def put_record(store, step, status, started_at, job="1"):
    record = {"step": step, "job": job, "status": status, "started_at": started_at, "error": None}
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

    fail_unfinished(store, "runs/one", "1")
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


def test_steps_of_another_execution_go_on(store):
    def statuses(prefix="runs/one"):
        return {record["step"]: record["status"] for record in read_records(store, prefix)}

    put_record(store, "cold_start", "running", "2030-01-01T02", job="1")
    put_record(store, "gate", "running", "2030-01-01T02", job="2")
    fail_unfinished(store, "runs/one", "1")
    assert (statuses()["cold_start"], statuses()["gate"]) == ("failed", "running")
    fail_unfinished(store, "runs/one", "")
    assert statuses()["gate"] == "failed"
    store.delete("runs/one")


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


JOB = "4711"


class Handler:
    """The exit handler of one execution, with a webhook to tell."""

    def __init__(self, server, folder, hook, monkeypatch):
        self.endpoint, self.bucket = server.endpoint, server.bucket
        self.store, self.folder, self.hook = server.store(), folder, hook
        self.metrics = Place(str(folder / "metrics"))
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("UAE_JOB", JOB)
        monkeypatch.setenv("UAE_WEBHOOK_URL", hook.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def bring(self, run_id, job=JOB, **options):
        """Store an example run as if this execution had left it; return its records' names."""
        run = write_example_run(self.folder / run_id, num_samples=2, **options)
        (run / "run.json").unlink()
        start = datetime.now(UTC) - timedelta(minutes=5)
        for path in sorted(path for path in run.rglob("*") if path.is_file()):
            key = f"runs/{run_id}/{path.relative_to(run).as_posix()}"
            content = path.read_bytes()
            if path.parent.name == "steps" or "steps" in path.parts[-3:]:
                record = json.loads(content) | {"job": job, "started_at": start.isoformat()}
                if record["step"] == "export_model":
                    record["metrics"] = {"promoted": 1.0}
                content = json.dumps(record).encode()
            self.store.put_bytes(key, content)

    def report(self, run_id, *, succeeded, **where):
        run_reporting(
            run_id,
            **{"endpoint": self.endpoint, "bucket": self.bucket} | where,
            succeeded=succeeded,
            message="" if succeeded else "the graph failed",
            ui_url="https://kubeflow.example/_/pipeline",
            report=Place(str(self.folder / "report.html")),
            numbers=Place(str(self.folder / "metrics.json")),
            metrics=self.metrics,
        )

    @property
    def told(self):
        return [json.loads(body) for _, _, body in self.hook.came]

    @property
    def page(self):
        return (self.folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture
def handler(server, tmp_path, monkeypatch):
    with webhook(*[200] * 3) as hook:
        yield Handler(server, tmp_path, hook, monkeypatch)


def test_failed_run_is_reported_and_told_once(handler):
    handler.bring("failed-run", fails_at="gate")
    handler.report("failed-run", succeeded=False)
    [message] = handler.told
    shown = json.dumps(message)
    assert message["blocks"][0]["text"]["text"].startswith(
        "UAE run failed-run failed at gate after 5"
    )
    assert "TrainingError: the first ratio after a rollout is 1.31" in shown
    assert "update 60 of 60" in shown
    assert f"https://kubeflow.example/_/pipeline/#/runs/details/{JOB}" in shown
    assert "Failed at Gate" in handler.page
    assert handler.metrics.metadata["failed_steps"] == 1
    assert handler.metrics.metadata["wall_seconds"] >= 300
    handler.report("failed-run", succeeded=False)  # a retry
    assert len(handler.told) == 1


def test_succeeded_run_is_told_with_its_scores(handler):
    handler.bring("good-run")
    handler.report("good-run", succeeded=True)
    [message] = handler.told
    head = message["blocks"][0]["text"]["text"]
    assert head.startswith("UAE run good-run succeeded, model promoted after 5")
    assert "Unified-Bench" in json.dumps(message)
    assert "GenEval 0.740 (95 % interval 0.690 to 0.780)" in json.dumps(message)
    assert handler.metrics.metadata["promoted"] == 1
    assert handler.metrics.metadata["geneval"] == 0.74


def test_run_without_any_record_is_reported_and_told(handler):
    handler.report("stillborn", succeeded=False)
    [message] = handler.told
    assert message["blocks"][0]["text"]["text"] == "UAE run stillborn failed"
    assert "Kubeflow says: the graph failed" in json.dumps(message)
    assert "the pipeline says: the graph failed" in handler.page
    assert json.loads((handler.folder / "metrics.json").read_text())["status"] == "failed"


def test_store_that_is_gone_is_told_and_fails_the_step(handler, monkeypatch):
    monkeypatch.setattr("uae.store.s3.Backoff", lambda: Backoff(attempts=1))
    nowhere = f"http://127.0.0.1:{free_ports()['s3']}"
    with pytest.raises(StoreError, match="no connection"):
        handler.report("lost", succeeded=False, endpoint=nowhere)
    [message] = handler.told
    assert "UAE run lost failed" in message["text"]
    assert "The report is not complete: StoreError: cannot look for the bucket" in json.dumps(
        message
    )


def test_wrong_place_is_told_and_fails_the_step(handler):
    with pytest.raises(StoreError, match="run id"):
        handler.report("no\nname", succeeded=False)
    [message] = handler.told
    assert "`UAE run no name failed`" in message["text"]


def test_result_that_cannot_be_read_is_told_with_the_step_that_failed(handler):
    handler.bring("broken-run", fails_at="export_model")
    key = "runs/broken-run/artifacts/evaluate_geneval/results/results.json"
    handler.store.put_bytes(key, b"{}")
    with pytest.raises(DataError):
        handler.report("broken-run", succeeded=False)
    [message] = handler.told
    assert "failed at export_model" in message["text"]
    assert "The report is not complete: DataError" in json.dumps(message)


def test_jobs_that_cannot_be_deleted_do_not_fail_the_report(handler, monkeypatch, capsys):
    def refuse(run, store, job):
        raise ClusterError(f"trainjobs is forbidden in {run}")

    monkeypatch.setattr("uae.launch.trainjob.delete_orphans", refuse)
    handler.bring("with-jobs", fails_at="gate")
    handler.store.put_json("runs/with-jobs/jobs/cold_start/task.json", {})
    handler.report("with-jobs", succeeded=False)
    assert "TrainJobs that are left were not deleted: ClusterError" in capsys.readouterr().out
    assert len(handler.told) == 1


def test_cluster_is_asked_only_where_a_step_made_a_job(handler, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(
        "uae.launch.trainjob.delete_orphans",
        lambda run, store, job: asked.append((run, store.bucket, job)) or ["j"],
    )
    handler.report("without-jobs", succeeded=False)
    assert asked == []
    handler.store.put_json("runs/one-job/jobs/cold_start/task.json", {})
    handler.report("one-job", succeeded=False)
    run = f"{handler.endpoint}/{handler.bucket}/runs/one-job"
    assert asked == [(run, handler.bucket, JOB)]
    assert "deleted TrainJob j" in capsys.readouterr().out


def test_failures_of_this_execution_alone_are_told():
    def record(step, job, status="failed"):
        error = {"type": "DataError", "message": step, "retryable": False}
        return {"step": step, "job": job, "status": status, "error": error, "log_tail": []}

    records = [record("cold_start", "1"), record("gate", "2"), record("report_run", "2")]
    assert [one.step for one in step_failures(records, "2")] == ["gate"]
    assert step_failures(records, "3") == []
