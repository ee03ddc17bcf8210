"""Runs jobs of stages in every process of a world, one after another.

A job is {"case", "out"} and some of:

    cut           the update in which the run stops, like a power cut
    killed        the update in which the second process alone is killed
    terminated    the update in which it gets SIGTERM
    fails         the update in which it fails
    streamed      whether samples are read from shards, of which one is broken
    half          the update whose checkpoint the first process is killed in, before its manifest
    frozen        shards the trained model, and says how the other one is held
    checkpoints   a folder, or {"endpoint", "prefix", "environment"} of a bucket
"""

import os
import signal
from pathlib import Path
from unittest import mock

from distributed.cases import recipe_of
from stage_world import World, train
from streamed_world import streamed

from uae.errors import DataError
from uae.store.s3 import Store
from uae.training.areas import MANIFEST, FolderArea
from uae.training.checkpoint import Checkpoints, LocalCheckpoints, StoreCheckpoints
from uae.training.distribution import join_world
from uae.training.loop import Run


class PowerCut(BaseException):
    pass


def run_job(world: World, job: dict) -> None:
    """Train as the job says, in as many processes as there are."""
    stage, recipe = recipe_of(world, job["case"], frozen=job.get("frozen"))
    if job.get("streamed"):
        recipe = streamed(recipe, on_broken="replace")
        world = world._replace(data=world.data.parent / "streamed" / "data")
    out, record, cut = Path(job["out"]), Run.record, job.get("cut")

    def cut_short(run: Run, *arguments: object, **settings: object) -> None:
        if run.next_step == cut:
            raise PowerCut
        if run.next_step == job.get("killed") and run.share.world.rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if run.next_step == job.get("terminated") and run.share.world.rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        if run.next_step == job.get("fails") and run.share.world.rank == 1:
            raise DataError("picture-7.png is no picture")
        record(run, *arguments, **settings)

    put_json, half = FolderArea.put_json, f"update-{job.get('half', 0):08d}/{MANIFEST}"

    def put_unless_half(area: FolderArea, name: str, value: object) -> None:
        if name == half:
            os.kill(os.getpid(), signal.SIGKILL)
        put_json(area, name, value)

    with (
        mock.patch.object(Run, "record", cut_short),
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


def main(world: World, size: int, jobs: list[dict]) -> None:
    with join_world(size):
        for job in jobs:
            run_job(world, job)
