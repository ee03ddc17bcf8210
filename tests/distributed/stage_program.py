"""Runs jobs of stages in every process of a world, one after another.

A job is {"case", "out"} and some of:

    cut           the update in which the run stops, like a power cut
    killed        the update in which the second process alone is killed
    terminated    the update in which it gets SIGTERM
    fails         the update in which it fails
    nan           the update in which its losses are not numbers
    hangs         the update in whose backward pass it hangs
    streamed      whether samples are read from shards, of which one is broken
    half          the update whose checkpoint the first process is killed in, before its manifest
    frozen        shards the trained model, and says how the other one is held
    models        other keys of the recipe's section `models`
    begins_with   a folder of checkpoints, which are copied
    checkpoints   a folder, or {"endpoint", "prefix", "environment"} of a bucket
"""

import os
import shutil
import signal
import time
from datetime import timedelta
from math import nan
from pathlib import Path
from unittest import mock

from distributed.cases import recipe_of
from stage_world import World, train
from streamed_world import streamed
from torch import Tensor

from uae.errors import DataError
from uae.store.s3 import Store
from uae.training import watchdog
from uae.training.areas import MANIFEST, FolderArea
from uae.training.checkpoint import Checkpoints, LocalCheckpoints, StoreCheckpoints
from uae.training.distribution import PATIENCE, current_world, join_world
from uae.training.loop import Run
from uae.training.optimizer import Optimizer


class PowerCut(BaseException):
    pass


def run_job(world: World, job: dict) -> None:
    """Train as the job says, in as many processes as there are."""
    stage, recipe = recipe_of(
        world, job["case"], frozen=job.get("frozen"), models=job.get("models")
    )
    if job.get("streamed"):
        recipe = streamed(recipe, on_broken="replace")
        world = world._replace(data=world.data.parent / "streamed" / "data")
    out, record, cut = Path(job["out"]), Run.record, job.get("cut")
    if "begins_with" in job:
        if current_world().is_main:
            shutil.copytree(job["begins_with"], job["checkpoints"])
        current_world().wait()

    done, backward = [0], Optimizer.backward

    def broken(optimizer: Optimizer, loss: Tensor) -> float:
        in_second = current_world().rank == 1
        while in_second and done[0] == job.get("hangs"):
            time.sleep(0.01)
        return backward(optimizer, loss * nan if in_second and done[0] == job.get("nan") else loss)

    def cut_short(run: Run, *arguments: object, **settings: object) -> None:
        done[0] = run.next_step + 1
        if run.next_step == cut:
            raise PowerCut
        if run.next_step == job.get("killed") and run.share.world.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if run.next_step == job.get("terminated") and run.share.world.rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        if run.next_step == job.get("fails") and run.share.world.rank == 1:
            raise DataError("picture-7.png is no picture")
        record(run, *arguments, **settings)

    put_json, half = FolderArea.put_json, f"update-{job.get('half', 0):08d}/"

    def put_unless_half(area: FolderArea, name: str, value: object) -> None:
        if name.startswith(half) and name.endswith(MANIFEST):
            os.kill(os.getpid(), signal.SIGKILL)
        put_json(area, name, value)

    with (
        mock.patch.object(Run, "record", cut_short),
        mock.patch.object(Optimizer, "backward", broken),
        mock.patch.object(FolderArea, "put_json", put_unless_half),
    ):
        try:
            checkpoints = open_checkpoints(job.get("checkpoints"), out)
            log_dir = out.with_name(f"{out.name}-log")
            train(stage, recipe, world, out, checkpoints=checkpoints, log_dir=log_dir)
        except PowerCut:
            assert cut is not None


def open_checkpoints(where: str | dict | None, out: Path) -> Checkpoints | None:
    if where is None:
        return None
    if isinstance(where, str):
        return LocalCheckpoints(Path(where))
    scratch = out.with_name(f"{out.name}-scratch-{os.getpid()}")
    os.environ |= where["environment"]
    store = Store.connect(where["endpoint"], "uae")
    return StoreCheckpoints(store, where["prefix"], scratch)


def main(world: World, size: int, jobs: list[dict], patience: timedelta = PATIENCE) -> None:
    if patience < PATIENCE:
        watchdog._GIVEN_UP_SECONDS = 1.0
    with join_world(size, patience=patience):
        for job in jobs:
            run_job(world, job)
