"""Trains a linear regression in every process of a world, with something that happens to one."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import torch
from linear_run import make_recipe
from safetensors.torch import save_file
from torch import nn

from uae.errors import DataError
from uae.objectives.loss import Loss
from uae.recipe import Recipe
from uae.seeds import make_generator
from uae.training import watchdog
from uae.training.checkpoint import LocalCheckpoints
from uae.training.distribution import PATIENCE, join_world
from uae.training.loop import Run
from uae.training.messages import ConnectionLost
from uae.training.share import Part
from uae.training.update import update_parameters

STAGE = "generation_for_understanding"
IN_UPDATE = 3


def twelve_samples(**section: object) -> Recipe:
    values = make_recipe().model_dump()
    values[STAGE] |= {"batch_size": 12, "num_minibatches": 2, "accumulation_steps": 3} | section
    return Recipe.model_validate(values)


def train(
    recipe: Recipe,
    folder: Path,
    *,
    happens: Callable[[Run], None] = lambda _: None,
    broken: tuple[int, str] | None = None,
) -> dict[str, torch.Tensor]:
    """Fit a line, all processes together; return the weights.

    Args:
        recipe: Of twelve samples.
        folder: For checkpoints and logs.
        happens: Is called in one update.
        broken: An update, and a sample whose pass begins with it: its loss is not a number.
    """
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    run = Run(
        STAGE,
        recipe,
        dict(model.named_parameters()),
        inputs={},
        checkpoints=LocalCheckpoints(folder / "checkpoints"),
        log_dir=folder / "log",
    )
    share, ids = run.share, [f"sample-{n}" for n in range(12)]
    with run:
        for step in run.steps():
            whole = torch.randn(12, 3, generator=make_generator(0, step))
            x = share.rows(whole)

            def part_losses(part: Part, x: torch.Tensor = x) -> Iterator[Loss]:
                seen = x[part.rows]
                if (run.next_step, part.minibatch, part.rows.start) == (IN_UPDATE, 0, 0):
                    happens(run)
                error = (model(seen) - seen.sum(dim=1, keepdim=True)) ** 2
                metrics = {"ratio/max_deviation": 0.0, "error_max": error.max().item()}
                names = share.of(ids)[part.rows]
                error = error * (torch.nan if broken == (run.next_step, names[0]) else 1.0)
                yield Loss(error.mean() / part.num_parts, metrics)

            run.record(update_parameters(run, step, part_losses, ids, ratio_tolerance=1e-4))
    run.finish()
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def fail(_run: Run) -> None:
    raise DataError("picture-7.png is no picture")


def break_down(_run: Run) -> None:
    raise ZeroDivisionError("by zero")


def drift(run: Run) -> None:
    """What a GPU that computes wrongly would do."""
    with torch.no_grad():
        run.trained["bias"] += 1e-7


def hang(_run: Run) -> None:
    time.sleep(20)


def spin(_run: Run | None) -> None:
    while True:
        time.monotonic()


def stop(_run: Run) -> None:
    time.sleep(1.5)  # so that its place has been reported
    os.kill(os.getpid(), signal.SIGSTOP)


HAPPENS: dict[str, Callable[[Run], None]] = {
    "nothing": lambda _: None,
    "fail": fail,
    "break-down": break_down,
    "drift": drift,
    "killed": lambda _: os.kill(os.getpid(), signal.SIGKILL),
    "hang": hang,
    "spin": spin,
    "stopped": stop,
    "terminated": lambda _: os.kill(os.getpid(), signal.SIGTERM),
    "interrupted": lambda _: os.kill(os.getpid(), signal.SIGINT),
}


def wait_elsewhere(folder: Path, size: int, where: int) -> None:
    """One process waits as for a GPU, in a call that never times out; the other one never comes."""
    watchdog.MARGIN_SECONDS = watchdog._GIVEN_UP_SECONDS = 1.0

    def leave_word(error: ConnectionLost) -> None:
        (folder / f"{os.environ['RANK']}.txt").write_text(str(error))

    with join_world(size, patience=timedelta(seconds=2), on_hang=leave_word) as world:
        world.wait()
        threading.Event().wait() if world.rank != where else spin(None)


def fit_with_broken(folder: Path, size: int, broken: tuple[int, str] | None) -> None:
    """Fit the line, with a broken sample; the main process writes the weights."""
    torch.set_num_threads(1)
    with join_world(size) as world:
        weights = train(twelve_samples(), folder, broken=broken)
        if world.is_main:
            save_file(weights, folder / "weights.safetensors")


def main(folder: Path, size: int, what: str, where: int, patience: timedelta = PATIENCE) -> None:
    torch.set_num_threads(1)
    if patience < PATIENCE:
        watchdog._GIVEN_UP_SECONDS = 1.0
    with join_world(size, patience=patience) as world:
        here = world.rank == where
        recipe = make_recipe(learning_rate=0.1) if here and what == "other-recipe" else None
        recipe = recipe or twelve_samples()
        own = folder / "elsewhere" if here and what == "no-checkpoint" else folder
        train(recipe, own, happens=HAPPENS[what] if here and what in HAPPENS else lambda _: None)
