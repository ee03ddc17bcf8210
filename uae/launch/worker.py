"""One of the processes that train a stage together: `torchrun -m uae.launch.worker TASK`.

TASK is a folder of this machine, or s3://bucket/prefix with the store's address as `--endpoint`.
torchrun tells each process its rank by environment variables.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import NoReturn

from uae.errors import ClusterError, UaeError
from uae.launch.failures import WorkerFailure
from uae.launch.location import RunLocation
from uae.launch.parent import follow_parent
from uae.launch.task import (
    StageTask,
    read_result,
    read_task,
    take_back_failure,
    write_failure,
    write_result,
)
from uae.launch.task_places import LocalPlace, StoredPlace, TaskPlace
from uae.launch.training import StagePaths, train_stage
from uae.recipe_files import parse_recipe

POLL_SECONDS = 0.5
READY = ".ready"
# Where the inputs of this node's processes lie. Who starts them gives the folder, and removes it:
# so processes that are started again find whole what others have brought.
NODE_FOLDER_VARIABLE = "UAE_NODE_FOLDER"


def main(arguments: Sequence[str] | None = None) -> int:
    """Train as the task says; return the exit code, see `uae.launch.failures`."""
    asked = read_arguments(arguments)
    follow_parent()
    signal.signal(signal.SIGTERM, _interrupt)
    rank = _number("RANK", 0)
    place: TaskPlace | None = None
    try:
        place = open_place(asked.task, asked.endpoint)
        _work(place, rank)
    except BaseException as error:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun sends it as soon as one has failed
        _say(error)
        failure = WorkerFailure.of(error, rank)
        if place is not None:
            write_failure(place, failure)
        return failure.exit_code
    return 0


def read_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return `task` and `endpoint`; None takes the arguments of this process."""
    parser = argparse.ArgumentParser(prog="python -m uae.launch.worker", description=__doc__)
    parser.add_argument("task", help="a folder, or s3://bucket/prefix")
    parser.add_argument("--endpoint", help="address of the store, for s3://")
    return parser.parse_args(arguments)


def open_place(task: str, endpoint: str | None) -> TaskPlace:
    """Return the place of a task.

    Raises:
        ClusterError: If it lies in a store whose address is not given.
        StoreError: If the store cannot be opened.
    """
    if not is_stored(task):
        return LocalPlace(Path(task))
    from uae.store.s3 import Store, parse_uri

    if not endpoint:
        raise ClusterError(f"{task} needs the address of its store: give --endpoint")
    bucket, prefix = parse_uri(task)
    return StoredPlace(Store.connect(endpoint, bucket), prefix)


def is_stored(task: str) -> bool:
    """Say whether a task lies in the store, as a TrainJob's does."""
    return task.startswith("s3://")


def _work(place: TaskPlace, rank: int) -> None:
    task = read_task(place)
    if read_result(place, task.identity) is not None:
        print("an earlier try has trained and stored everything", flush=True)
        return
    take_back_failure(place, rank)
    given = os.environ.get(NODE_FOLDER_VARIABLE)
    # One torchrun on each node.
    node = Path(given or tempfile.gettempdir()) / f"uae-node-{os.getppid()}"
    try:
        _fetch_once(place, task, node)
        with tempfile.TemporaryDirectory() as own:
            paths = _paths(place, task, node, Path(own), is_main=rank == 0)
            _train(place, task, paths, is_main=rank == 0)
    finally:
        if _number("LOCAL_RANK", 0) == 0 and not given:
            shutil.rmtree(node, ignore_errors=True)


def _train(place: TaskPlace, task: StageTask, paths: StagePaths, *, is_main: bool) -> None:
    from uae.training.distribution import join_world

    store = RunLocation.parse(task.run).connect()
    patience = timedelta(seconds=parse_recipe(task.recipe).faults.patience_seconds)

    def leave_word(error: Exception) -> None:
        write_failure(place, WorkerFailure.of(error, _number("RANK", 0)))

    with join_world(task.world_size, patience=patience, on_hang=leave_word):
        summary = train_stage(
            task.stage, task.recipe, paths, store, task.checkpoints, is_main=is_main
        )
        if is_main:
            write_result(place, task, summary, place.send(task, paths.outputs))


def _paths(
    place: TaskPlace, task: StageTask, node: Path, own: Path, *, is_main: bool
) -> StagePaths:
    """Return where this process reads and writes; what others than rank 0 write is thrown away."""
    outputs = place.outputs(task, own) if is_main else {name: own / name for name in task.outputs}
    data, model_in = place.inputs(task, node)
    return StagePaths(data, model_in, **outputs)


def _fetch_once(place: TaskPlace, task: StageTask, node: Path) -> None:
    """Let one process of each node bring the inputs; the others wait for it.

    They wait before they join the others: a download may take longer than a collective waits.
    What processes before these have brought whole is not brought again.
    """
    if _number("LOCAL_RANK", 0) == 0 and not (node / READY).exists():
        shutil.rmtree(node, ignore_errors=True)
        node.mkdir()
        place.fetch(task, node)
        _fetch_weights(task)
        (node / READY).touch()
    while not (node / READY).exists():  # torchrun ends this process if the other one fails
        time.sleep(POLL_SECONDS)


def _fetch_weights(task: StageTask) -> None:
    from uae.models.bundle import is_remote
    from uae.weights.fetching import fetch_for_stage

    recipe = parse_recipe(task.recipe)
    if is_remote(recipe.models.base):
        store = RunLocation.parse(task.run).connect()
        fetch_for_stage(recipe, task.stage, store, starts_from_base=task.model_in is None)


def _number(variable: str, default: int) -> int:
    return int(os.environ.get(variable, default))


def _say(error: BaseException) -> None:
    if isinstance(error, UaeError | KeyboardInterrupt):
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    else:
        traceback.print_exc()


def _interrupt(number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt(f"stopped by {signal.Signals(number).name}")


def _leave(code: int) -> NoReturn:
    """End this process; after a failure on GPUs at once, without taking leave of the others."""
    sys.stdout.flush()
    sys.stderr.flush()
    torch = sys.modules.get("torch")
    if code and torch is not None and torch.distributed.is_initialized():
        os._exit(code)  # nccl's own end would wait for processes that may hang
    sys.exit(code)


if __name__ == "__main__":
    _leave(main())
