"""What a TrainJob's pods run on a task in the store: the job's command, and what it leaves."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from artifact_place import Place
from launching.kubernetes_api import KubernetesApi
from launching.stage_step import STAGE, StageStep, launch
from stage_world import weights

from uae.errors import DataError, StoreError
from uae.launch import job_follower, worker
from uae.launch.failures import FAILED, FINAL, INTERRUPTED, WorkerFailure
from uae.launch.task import (
    StageTask,
    read_failures,
    read_task,
    write_failure,
    write_result,
    write_task,
)
from uae.launch.task_places import StoredPlace

ONE_PROCESS = launch(num_nodes=1, accelerators=0)


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def command(api: KubernetesApi) -> list[str]:
    (job,) = api.created
    words: list[str] = job["spec"]["trainer"]["command"]
    assert words[:3] == ["python3", "-m", "uae.launch.agent"]
    return [sys.executable, *words[1:]]


def work_of(api: KubernetesApi) -> None:
    """Run what torchrun would run, in this process, which has imported torch already."""
    words = command(api)
    assert worker.main(words[words.index(worker.__name__) + 1 :]) == 0


def test_job_makes_the_bytes_that_one_process_makes(
    api: KubernetesApi,
    stage_step: StageStep,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def work_once(_: float) -> None:
        if "status" not in next(iter(api.jobs.values())):
            work_of(api)
            api.condition("Complete")

    monkeypatch.setattr(job_follower, "time", SimpleNamespace(sleep=work_once))
    here = stage_step()
    before = {"stored_at": here["model"].metadata["stored_at"],
              "sha256": here["model"].metadata["sha256"]}  # fmt: skip
    results = {}
    for name, how in (("here", None), ("job", ONE_PROCESS)):
        step = StageStep(
            stage_step.world, tmp_path / name, f"{stage_step.run}-{name}", stage_step.store,
            stage_step.data, model_in=Place(here["model"].path, metadata=before),
        )  # fmt: skip
        results[name] = step(how)
        assert step.store.list(f"{step.prefix}/checkpoints") == []
    found, wanted = (weights(Path(results[name]["model"].path)) for name in ("job", "here"))
    assert found.keys() == wanted.keys()
    assert all(found[name].equal(wanted[name]) for name in wanted)
    digests = {name: outputs["model"].metadata["sha256"] for name, outputs in results.items()}
    assert digests["job"] == digests["here"] != before["sha256"]
    assert Path(results["job"]["curves"].path).read_text().startswith("<")
    assert (Path(results["job"]["logs"].path) / "metrics.jsonl").is_file()
    assert list((Path(results["job"]["logs"].path) / "tensorboard").iterdir())
    parent = results["job"]["model"].metadata
    assert parent["parent_uri"] == before["stored_at"]
    assert parent["parent_sha256"] == before["sha256"]
    assert parent["data_revision"] == "of the test"


def test_command_of_the_job_runs_and_tells_why_it_fails(
    api: KubernetesApi, stage_step: StageStep
) -> None:
    stage_step.data = Place(
        stage_step.data.path, metadata=stage_step.data.metadata | {"sha256": "0" * 64}
    )
    place = StoredPlace(stage_step.store, f"{stage_step.prefix}/jobs/{STAGE}")
    ended: list[subprocess.CompletedProcess[str]] = []

    def run() -> None:
        meeting = {"PET_NNODES": "1", "PET_NODE_RANK": "0", "PET_NPROC_PER_NODE": "4",
                   "PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": "0"}  # fmt: skip
        ended.append(
            subprocess.run(
                command(api), env=os.environ | meeting, capture_output=True, text=True, check=False
            )
        )
        pod = api.pod(0, terminated={"exitCode": ended[0].returncode, "reason": "Error"})
        api.say(pod, *ended[0].stderr.splitlines())
        api.condition("Failed")

    api.scenes.append(run)
    with pytest.raises(StoreError, match=r"the step was given 0{64}: it was written again since"):
        stage_step(ONE_PROCESS)
    assert ended[0].returncode == 1
    assert ended[0].stderr.splitlines()[-1] == "rank 0 ended with exit code 1"
    assert [failure.type for failure in read_failures(place)] == ["StoreError"]
    assert read_task(place).world_size == 1
    assert stage_step.record["error"]["retryable"] is True


@pytest.fixture
def stored_task(stage_step: StageStep) -> tuple[StoredPlace, StageTask, list[str]]:
    """A task in the store, and the words that a worker gets."""
    place = StoredPlace(stage_step.store, f"{stage_step.prefix}/jobs/{STAGE}")
    metadata = stage_step.data.metadata
    task = StageTask(
        stage=STAGE, recipe=stage_step.recipe, run=stage_step.run, world_size=1, identity="i",
        checkpoints=f"{stage_step.prefix}/checkpoints/{STAGE}", data=metadata["stored_at"],
        model_in=None, digests={"data": metadata["sha256"]},
        outputs={name: f"{stage_step.prefix}/{name}" for name in ("model", "logs", "curves")},
    )  # fmt: skip
    write_task(place, task)
    words = [f"s3://{stage_step.store.bucket}/{place.prefix}"]
    endpoint = stage_step.run.partition("/uae/")[0]
    return place, task, [*words, f"--endpoint={endpoint}"]


@pytest.mark.parametrize(
    ("error", "code"),
    [(DataError("bad"), FINAL), (StoreError("away"), FAILED), (KeyboardInterrupt(), INTERRUPTED)],
)
def test_failure_of_an_earlier_try_is_taken_back_and_the_new_one_told(
    stored_task: tuple[StoredPlace, StageTask, list[str]],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: int,
) -> None:
    place, _, words = stored_task
    write_failure(place, WorkerFailure.of(TimeoutError("before"), 0))
    seen: list[int] = []

    def fail(*_: object) -> None:
        seen.append(len(read_failures(place)))
        raise error

    monkeypatch.setattr(worker, "_train", lambda *_, **__: fail())
    assert worker.main(words) == code
    assert seen == [0]
    assert [failure.type for failure in read_failures(place)] == [type(error).__name__]


def test_inputs_that_are_whole_are_not_brought_again(
    stored_task: tuple[StoredPlace, StageTask, list[str]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    _, _, words = stored_task
    monkeypatch.setenv(worker.NODE_FOLDER_VARIABLE, str(tmp_path))
    monkeypatch.setattr(worker, "_train", lambda *_, **__: None)
    assert worker.main(words) == 0
    (node,) = tmp_path.iterdir()
    (node / "data" / "data.json").write_text("as it was left")
    assert worker.main(words) == 0
    assert (node / "data" / "data.json").read_text() == "as it was left"
    (node / worker.READY).unlink()  # the process was killed while it brought them
    assert worker.main(words) == 0
    assert (node / "data" / "data.json").read_text() == '{"revision": "of the test"}'


def test_task_that_has_its_result_is_not_worked_on_again(
    stored_task: tuple[StoredPlace, StageTask, list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place, task, words = stored_task
    monkeypatch.setattr(worker, "_train", lambda *_, **__: pytest.fail("it trained"))
    write_result(place, task.model_copy(update={"identity": "of another task"}), {}, {})
    assert worker.main(words) == FINAL  # pytest's failure
    write_result(place, task, {}, {})
    assert worker.main(words) == 0
    assert "an earlier try has trained and stored everything" in capsys.readouterr().out
