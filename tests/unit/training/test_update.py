import pytest
import torch
from linear_run import make_recipe
from torch import nn

from uae.errors import TrainingError
from uae.objectives.loss import Loss
from uae.recipe import Recipe
from uae.training.loop import Run
from uae.training.update import update_parameters

STAGE = "generation_for_understanding"
IDS = ["a", "b", "c", "d"]


def start(num_minibatches=1, accumulation_steps=1):
    values = make_recipe().model_dump()
    values[STAGE] |= {
        "num_minibatches": num_minibatches,
        "accumulation_steps": accumulation_steps,
    }
    w = nn.Parameter(torch.ones(1))
    return Run(STAGE, Recipe.model_validate(values), {"w": w}, inputs={}), w


def losses_of(w, targets, metrics=None):
    def part_losses(part):
        mean = ((w - targets[part.rows]) ** 2).mean() / part.num_parts
        yield Loss(mean, {"ratio/max_deviation": 0.0} | (metrics or {}))

    return part_losses


def test_accumulation_changes_nothing():
    targets = torch.tensor([1.0, 2.0, 4.0, -3.0])
    results = []
    for accumulation_steps in (1, 2, 4):
        run, w = start(accumulation_steps=accumulation_steps)
        metrics = update_parameters(run, 0, losses_of(w, targets), IDS, ratio_tolerance=1e-4)
        results.append((metrics["loss"], metrics["grad_norm"], w.item()))
    assert results[0] == pytest.approx(results[1])
    assert results[0] == pytest.approx(results[2])


def test_each_minibatch_is_one_optimizer_step():
    run, w = start(num_minibatches=4)
    update_parameters(run, 0, losses_of(w, torch.zeros(4)), IDS, ratio_tolerance=1e-4)
    assert run.optimizer.tensors()["step/w"].item() == 4


def test_first_ratio_must_be_one_but_later_minibatches_may_differ():
    run, w = start(num_minibatches=2)

    def part_losses(part):
        off = 0.1 if part.minibatch > 0 else 0.0
        yield Loss((w**2).sum(), {"ratio/max_deviation": off})

    metrics = update_parameters(run, 0, part_losses, IDS, ratio_tolerance=1e-4)
    assert metrics["ratio/max_deviation"] == 0.1
    with pytest.raises(TrainingError, match="ratio"):
        update_parameters(
            run,
            1,
            losses_of(w, torch.zeros(4), {"ratio/max_deviation": 0.1}),
            IDS,
            ratio_tolerance=1e-4,
        )


@pytest.mark.parametrize("tolerance", [1e-4, None])
def test_kl_must_be_zero_before_update_0_only(tolerance):
    run, w = start()
    losses = losses_of(w, torch.zeros(4), {"kl": 0.01})
    update_parameters(run, 1, losses, IDS, ratio_tolerance=tolerance)
    with pytest.raises(TrainingError, match="KL to the start"):
        update_parameters(run, 0, losses, IDS, ratio_tolerance=tolerance)
