"""Runs jobs of stages in every process of a world, one after another.

A job is {"case", "out", "checkpoints", "cut"}: `cut` stops the run like a power cut, in the
update of this number.
"""

from pathlib import Path
from unittest import mock

from distributed.cases import recipe_of
from stage_world import World, train

from uae.training.checkpoint import LocalCheckpoints
from uae.training.distribution import join_world
from uae.training.loop import Run


class PowerCut(BaseException):
    pass


def run_job(world: World, job: dict) -> None:
    """Train as the job says, in as many processes as there are."""
    stage, recipe = recipe_of(world, job["case"])
    out, record, cut = Path(job["out"]), Run.record, job.get("cut")
    folder = job.get("checkpoints")

    def cut_short(run: Run, *arguments: object, **settings: object) -> None:
        if run.next_step == cut:
            raise PowerCut
        record(run, *arguments, **settings)

    with mock.patch.object(Run, "record", cut_short):
        try:
            checkpoints = LocalCheckpoints(Path(folder)) if folder else None
            log_dir = out.with_name(f"{out.name}-log")
            train(stage, recipe, world, out, checkpoints=checkpoints, log_dir=log_dir)
        except PowerCut:
            assert cut is not None


def main(world: World, size: int, jobs: list[dict]) -> None:
    with join_world(size):
        for job in jobs:
            run_job(world, job)
