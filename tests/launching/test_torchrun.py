"""A stage in processes that torchrun starts: interrupted, failed, killed, and as one process."""

import os
import re
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from artifact_place import Place
from launching.stage_step import STAGE, TORCHRUN, StageStep
from stage_world import weights

from uae.errors import ClusterError, DataError, ResourcesError
from uae.launch.task import StageTask
from uae.launch.torchrun import WORKER, train_with_torchrun
from uae.models.bundle import fetched_folder
from uae.store.caches import caches_folder
from uae.training.areas import StoreArea
from uae.training.attempts import newest_checkpoint

UPDATES = 25


def when(happens: Callable[[], object], then: Callable[[], object]) -> threading.Thread:
    """Do something as soon as something else is true."""

    def watch() -> None:
        until = time.monotonic() + 300
        while time.monotonic() < until:
            if happens():
                then()
                return
            time.sleep(0.05)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def workers() -> list[psutil.Process]:
    """The processes that train, below this one."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if WORKER in words and "--standalone" not in words:
            found.append(process)
    return found


def task(stage_step: StageStep, **changes: object) -> StageTask:
    values = {
        "stage": STAGE, "recipe": stage_step.recipe, "run": stage_step.run, "world_size": 1,
        "identity": "i", "checkpoints": f"{stage_step.prefix}/checkpoints/{STAGE}",
        "data": stage_step.data.path, "model_in": None, "digests": {}, "outputs": {},
    }  # fmt: skip
    return StageTask.model_validate(values | changes)


def test_interrupted_and_retried_is_what_one_process_makes(
    stage_step: StageStep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage_step.updates(UPDATES, checkpoint_every=1)
    checkpoints = f"{stage_step.prefix}/checkpoints/{STAGE}"
    store = stage_step.store
    area = StoreArea(store, checkpoints)
    when(lambda: newest_checkpoint(area), lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(KeyboardInterrupt, match="stopped by SIGTERM"):
        stage_step(TORCHRUN)
    assert workers() == []
    error = stage_step.record["error"]
    assert error == {
        "type": "KeyboardInterrupt", "message": "stopped by SIGTERM", "retryable": True,
    }  # fmt: skip
    done = newest_checkpoint(area)
    assert done is not None
    assert 0 < int(done.removeprefix("update-")) < UPDATES

    retried = stage_step(TORCHRUN)
    assert stage_step.record["status"] == "succeeded"
    assert f"{STAGE} {UPDATES}/{UPDATES}" in "\n".join(stage_step.record["log_tail"])
    assert store.list(checkpoints) == []
    assert "Traceback" not in capsys.readouterr().out

    stage_step.run, stage_step.folder = f"{stage_step.run}-here", tmp_path / "here"
    stage_step.__post_init__()
    stage_step.updates(UPDATES, checkpoint_every=1)
    here = stage_step()
    found, wanted = (weights(Path(outputs["model"].path)) for outputs in (retried, here))
    assert found.keys() == wanted.keys()
    assert all(found[name].equal(wanted[name]) for name in wanted)
    assert retried["model"].metadata["sha256"] == here["model"].metadata["sha256"]


def test_error_of_a_process_comes_back_as_it_was(
    stage_step: StageStep, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ResourcesError, match=r"written by uae 0\.0\.0.*must hold the same version"):
        train_with_torchrun(task(stage_step, uae="0.0.0", world_size=2), 3)
    said = capfd.readouterr().out
    assert re.search("rank [01] ended with exit code 65", said)
    assert "restart" not in said


def test_caches_outlive_the_step_and_temporary_files_do_not(
    stage_step: StageStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = Path(tempfile.gettempdir())
    seen: list[Path] = []

    def start(_: list[str], variables: dict[str, str]) -> int:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(tempfile, "tempdir", None)  # found anew, as in another process
        seen.extend([Path(tempfile.gettempdir()), fetched_folder("a"), caches_folder()])
        return 1

    monkeypatch.setattr("uae.launch.torchrun._run", start)
    with pytest.raises(ClusterError):
        train_with_torchrun(task(stage_step), 0)
    own, weights_folder, caches = seen
    assert own != temporary
    assert not own.exists()
    assert caches == temporary
    assert weights_folder.parent == temporary / f"uae-weights-{os.getuid()}"


def test_error_that_no_retry_cures_is_kept_and_the_retry_fails_with_it_at_once(
    stage_step: StageStep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "broken"
    shutil.copytree(stage_step.world.data, data)
    (data / "heldout" / "captions.jsonl").write_text("{")
    stage_step.data = Place(str(data), metadata={"sha256": "0" * 64})
    with pytest.raises(DataError) as first:
        stage_step(TORCHRUN)
    assert stage_step.record["error"] == {
        "type": "DataError", "message": str(first.value), "retryable": False,
    }  # fmt: skip
    monkeypatch.setattr("uae.launch.torchrun._run", lambda *_: pytest.fail("it was started"))
    with pytest.raises(DataError, match=f"^{re.escape(str(first.value))}$"):
        stage_step(TORCHRUN)


def test_killed_process_ends_the_others_and_is_worth_another_try(stage_step: StageStep) -> None:
    when(lambda: len(workers()) == 2, lambda: workers()[0].kill())
    with pytest.raises(ClusterError, match="ended without a word"):
        train_with_torchrun(task(stage_step, world_size=2), 0)
    assert workers() == []
