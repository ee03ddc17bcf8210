"""A signal within an update, which may take minutes: nothing has moved, nothing must be ended."""

import os
import signal

import pytest
import torch
from linear_run import make_recipe
from torch import nn

from uae.objectives.loss import Loss
from uae.recipe import Recipe
from uae.training.checkpoint import LocalCheckpoints
from uae.training.keeper import newest_checkpoint
from uae.training.loop import Run
from uae.training.update import update_parameters

STAGE = "generation_for_understanding"
IDS = ["a", "b", "c", "d"]


def train(folder=None, *, signalled=None, **section):
    """Return the weight, and the passes of each update; `signalled` is the pass that is cut."""
    values = make_recipe(ema_decay=0.5, ema_every=1).model_dump()
    values[STAGE] |= {"num_updates": 4, "checkpoint_every": 3, "accumulation_steps": 2} | section
    w = nn.Parameter(torch.ones(1))
    places = {"checkpoints": LocalCheckpoints(folder)} if folder else {}
    run, passes = Run(STAGE, Recipe.model_validate(values), {"w": w}, inputs={}, **places), []
    with run:
        for step in run.steps():

            def part_losses(part, step=step):
                passes.append((step, part.minibatch))
                if len(passes) - 1 == signalled:
                    os.kill(os.getpid(), signal.SIGINT)
                yield Loss(((w - step) ** 2).mean() / part.num_parts, {})

            run.record(update_parameters(run, step, part_losses, IDS))
    return w.item(), passes


@pytest.mark.parametrize(
    ("signalled", "kept"),
    [(1, None), (2, "update-00000001"), (6, "update-00000003")],
    ids=["first-update", "no-checkpoint-of-it", "checkpoint-of-it"],
)
def test_before_a_step_the_checkpoint_is_of_the_updates_before(tmp_path, signalled, kept):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, signalled=signalled)
    assert newest_checkpoint(LocalCheckpoints(tmp_path).area) == kept
    w, passes = train(tmp_path)
    assert passes[0] == (signalled // 2, 0)  # the update that was cut is made again, whole
    assert w == train()[0]


def test_after_a_step_the_update_is_ended(tmp_path):
    minibatches = {"num_minibatches": 2, "accumulation_steps": 1}
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, signalled=3, **minibatches)
    assert newest_checkpoint(LocalCheckpoints(tmp_path).area) == "update-00000002"
    assert train(tmp_path, **minibatches)[0] == train(**minibatches)[0]
