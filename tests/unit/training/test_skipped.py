"""Updates with a loss or gradient that is not finite."""

import json

import pytest
import torch
from linear_run import make_recipe
from torch import nn

from uae.errors import TrainingError
from uae.objectives.loss import Loss
from uae.recipe import Recipe
from uae.training.checkpoint import LocalCheckpoints
from uae.training.loop import Run
from uae.training.update import update_parameters

STAGE = "generation_for_understanding"
IDS = ["a", "b", "c", "d"]
NAN, FINE = torch.nan, torch.zeros(4)
BAD_C = torch.tensor([0.0, 0.0, NAN, 0.0])


def make_run(most=2, folder=None, **section):
    values = make_recipe(ema_decay=0.5, ema_every=1).model_dump()
    values["faults"]["max_skipped_updates"] = most
    values[STAGE] |= {"num_updates": 6, "checkpoint_every": 2} | section
    places = {}
    if folder is not None:
        checkpoints = LocalCheckpoints(folder / "checkpoints")
        places = {"checkpoints": checkpoints, "log_dir": folder / "log"}
    w = nn.Parameter(torch.ones(1))
    return Run(STAGE, Recipe.model_validate(values), {"w": w}, inputs={}, **places), w


def losses_of(w, targets, infinite_slope=False):
    def part_losses(part):
        error = ((w - targets[part.rows]) ** 2).mean() / part.num_parts
        slope = ((w - w.detach()) ** 2).sqrt().sum() if infinite_slope else 0.0
        deviation = 0.0 if torch.isfinite(error) else torch.nan
        yield Loss(error + slope, {"ratio/max_deviation": deviation, "error": error.item()})

    return part_losses


def all_of(run, w):
    found = run.optimizer.tensors() | {"w": w, "ema": run.state.ema.average["w"]}
    return {name: tensor.detach().clone() for name, tensor in found.items()}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("kind", ["loss", "gradient"])
def test_a_skipped_update_changes_nothing_and_is_counted(kind, tmp_path, capfd):
    run, w = make_run(folder=tmp_path, accumulation_steps=2)
    bad = losses_of(w, BAD_C) if kind == "loss" else losses_of(w, FINE, infinite_slope=True)
    with run:
        for step in run.steps():
            before = all_of(run, w)
            losses = bad if step == 1 else losses_of(w, FINE)
            metrics = update_parameters(run, step, losses, IDS, ratio_tolerance=1e-4)
            run.record(metrics)
            assert same(before, all_of(run, w)) == (step == 1)
            assert ("loss" in metrics) == (step != 1)
            assert w.grad is None
    # of the loss, the samples of the pass that it came from; of a gradient, the minibatch's
    named = ["c", "d"] if kind == "loss" else IDS
    saved = json.loads((tmp_path / "log/skipped.json").read_text())
    assert saved == [{"update": 1, "kind": kind, "samples": named}]
    assert json.loads((tmp_path / "checkpoints/skipped.json").read_text()) == saved
    rows = [json.loads(line) for line in (tmp_path / "log/metrics.jsonl").read_text().splitlines()]
    assert [row["skipped_updates"] for row in rows] == [0, 1, 1, 1, 1, 1]
    assert "NaN" not in (tmp_path / "log/metrics.jsonl").read_text()
    assert run.finish()["skipped_updates"] == 1
    assert run.optimizer.tensors()["step/w"].item() == 5
    assert (
        f"the {kind} is not finite for samples {', '.join(named)} (1 of 2)"
        in capfd.readouterr().err
    )


def test_a_rollout_s_later_minibatches_are_left_out_and_earlier_ones_stand():
    run, w = make_run(num_minibatches=4, accumulation_steps=1)
    seen = []

    def part_losses(part):
        seen.append(part.minibatch)
        yield from losses_of(w, BAD_C)(part)

    update_parameters(run, 0, part_losses, IDS, ratio_tolerance=1e-4)
    assert seen == [0, 1, 2]
    assert run.optimizer.tensors()["step/w"].item() == 2
    assert run.skipped.values() == [{"update": 0, "kind": "loss", "samples": ["c"]}]


def test_one_more_than_the_recipe_allows_ends_the_run_also_after_a_resume(tmp_path):
    bad = {1: BAD_C, 2: BAD_C, 4: torch.full((4,), NAN)}

    def train(until=None):
        run, w = make_run(folder=tmp_path)
        with run:
            for step in run.steps():
                if step == until:
                    return
                losses = losses_of(w, bad.get(step, FINE))
                run.record(update_parameters(run, step, losses, IDS, ratio_tolerance=1e-4))

    train(until=3)  # after the checkpoint of update 2, which knows of the first alone
    assert len(json.loads((tmp_path / "log/skipped.json").read_text())) == 2
    with pytest.raises(
        TrainingError,
        match=r"update 4: the loss is not finite for samples a, b, c, d; 3 updates were skipped.*"
        r"faults\.max_skipped_updates is 2",
    ):
        train()
    for folder in ("log", "checkpoints"):
        saved = json.loads((tmp_path / folder / "skipped.json").read_text())
        assert [(one["update"], one["samples"]) for one in saved] == [
            (1, IDS),
            (2, IDS),
            (4, IDS),
        ]


def test_a_run_that_may_skip_none_ends_at_the_first():
    run, w = make_run(most=0)
    with pytest.raises(TrainingError, match="update 0: the gradient is not finite"):
        update_parameters(run, 0, losses_of(w, FINE, infinite_slope=True), IDS)


def test_of_a_gradient_the_samples_of_its_pass_are_named():
    run, w = make_run(accumulation_steps=2)

    def part_losses(part):
        yield from losses_of(w, FINE, infinite_slope=part.rows.start == 2)(part)

    update_parameters(run, 0, part_losses, IDS)
    assert run.skipped.values() == [{"update": 0, "kind": "gradient", "samples": ["c", "d"]}]
    assert w.grad is None


def test_of_a_sum_that_is_too_large_all_samples_are_named():
    run, w = make_run(accumulation_steps=2)

    def part_losses(part):
        yield Loss(w.sum() * 2e38, {})  # twice as much is more than float32 holds

    update_parameters(run, 0, part_losses, IDS)
    assert run.skipped.values() == [{"update": 0, "kind": "gradient", "samples": IDS}]


def test_the_last_row_s_summary_is_of_an_update_that_was_made():
    run, w = make_run(num_updates=2)
    with run:
        for step in run.steps():
            targets = BAD_C if step == 1 else FINE
            metrics = update_parameters(run, step, losses_of(w, targets), IDS)
            run.record(metrics)
    summary = run.finish()
    assert summary["loss"] == 1  # (1 - 0)^2 before the first update
    assert summary["skipped_updates"] == 1
    assert summary["num_updates"] == 2
