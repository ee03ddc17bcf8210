"""The base weights' training loop: exact resume, schedule, averaged weights, refusals."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from uae.base_weights.trainer import (
    TrainerSettings,
    learning_rate_at,
    load_trained,
    run_training,
)
from uae.errors import TrainingError
from uae.seeds import make_generator

SETTINGS = TrainerSettings(num_steps=12, warmup_steps=3, ema_decay=0.9, bf16=False)


class _Killed(Exception):
    pass


def _train(
    work: Path, *, die_at: int | None = None, settings: TrainerSettings = SETTINGS
) -> Tensor:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))

    def loss_fn(step: int) -> Tensor:
        if step == die_at:
            raise _Killed
        x = torch.randn(16, 4, generator=make_generator(0, "toy", step))
        return (net(x) - x.sum(1, keepdim=True)).square().mean()

    run_training(
        "toy",
        work,
        modules={"net": net},
        loss_fn=loss_fn,
        settings=settings,
        checkpoint_every=4,
        log_every=2,
    )
    return torch.cat([value.flatten().float() for value in net.state_dict().values()])


def test_killed_and_resumed_run_ends_in_the_same_bits(tmp_path: Path):
    whole = _train(tmp_path / "whole")
    with pytest.raises(_Killed):
        _train(tmp_path / "killed", die_at=6)
    assert torch.equal(_train(tmp_path / "killed"), whole)
    logs = [(tmp_path / name / "log.jsonl").read_text().count("\n") for name in ("whole", "killed")]
    assert logs[0] == logs[1] == 6


def test_finished_run_is_not_trained_again(tmp_path: Path):
    whole = _train(tmp_path)
    assert torch.equal(_train(tmp_path, die_at=0), whole)


def test_other_settings_are_refused(tmp_path: Path):
    _train(tmp_path)
    with pytest.raises(TrainingError, match="remove"):
        _train(tmp_path, settings=TrainerSettings(num_steps=13, bf16=False))


def test_load_trained_gives_the_averaged_weights(tmp_path: Path):
    whole = _train(tmp_path)
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))
    assert load_trained(tmp_path, {"net": net}) == 12
    loaded = torch.cat([value.flatten().float() for value in net.state_dict().values()])
    assert torch.equal(loaded, whole)


def test_load_trained_without_checkpoint_says_so(tmp_path: Path):
    with pytest.raises(TrainingError, match="no checkpoint"):
        load_trained(tmp_path, {"net": nn.Linear(1, 1)})


def test_learning_rate_warms_up_then_follows_the_cosine():
    settings = TrainerSettings(num_steps=12, learning_rate=2.0, warmup_steps=2)
    assert learning_rate_at(0, settings) == 1.0
    assert learning_rate_at(1, settings) == 2.0
    assert learning_rate_at(7, settings) == pytest.approx(1.0)  # half-way down
    assert learning_rate_at(12, settings) == pytest.approx(0.0)


def test_not_finite_loss_is_an_error(tmp_path: Path):
    net = nn.Linear(1, 1)
    with pytest.raises(TrainingError, match="step 0"):
        run_training(
            "nan",
            tmp_path,
            modules={"net": net},
            settings=SETTINGS,
            loss_fn=lambda _: net(torch.full((1, 1), float("nan"))).sum(),
        )


def test_measuring_code_that_freezes_the_model_does_not_stop_training(tmp_path: Path):
    net = nn.Linear(1, 1)

    def validate() -> dict[str, float]:
        net.requires_grad_(False)
        return {"heldout/weight": net.weight.item()}

    run_training(
        "frozen",
        tmp_path,
        modules={"net": net},
        loss_fn=lambda _: net(torch.ones(1, 1)).square().sum(),
        settings=SETTINGS,
        checkpoint_every=2,
        validate=validate,
    )
    rows = [json.loads(row) for row in (tmp_path / "log.jsonl").read_text().splitlines()]
    seen = [row["heldout/weight"] for row in rows if "heldout/weight" in row]
    assert len(set(seen)) == len(seen) == 6
