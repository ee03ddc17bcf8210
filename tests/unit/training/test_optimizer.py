import pytest
import torch
from torch import nn

from uae.recipe import OptimizerRecipe
from uae.training.ema import Ema
from uae.training.optimizer import Optimizer, learning_rate_factor


def settings(**changes):
    values = {
        "learning_rate": 0.1,
        "weight_decay": 0.0,
        "betas": (0.9, 0.999),
        "max_grad_norm": 1.0,
        "warmup_updates": 0,
        "schedule": "constant",
        "ema_decay": None,
        "ema_every": 1,
    }
    return OptimizerRecipe(**(values | changes))


def test_warm_up_rises_by_equal_steps():
    recipe = settings(warmup_updates=3)
    factors = [learning_rate_factor(step, 10, recipe) for step in range(5)]
    assert factors == pytest.approx([0.25, 0.5, 0.75, 1, 1])


@pytest.mark.parametrize(("schedule", "middle"), [("linear", 0.5), ("cosine", 0.5)])
def test_schedules_fall_from_one_to_zero(schedule, middle):
    recipe = settings(warmup_updates=2, schedule=schedule)
    assert learning_rate_factor(2, 12, recipe) == 1
    assert learning_rate_factor(7, 12, recipe) == pytest.approx(middle)
    assert learning_rate_factor(12, 12, recipe) == pytest.approx(0)


def test_first_adamw_step_matches_hand_calculation():
    # gradient 3 and 4: norm 5, clipped to 0.6 and 0.8; Adam's first step is lr x sign
    w = nn.Parameter(torch.zeros(2))
    optimizer = Optimizer({"w": w}, settings(), num_updates=1)
    assert optimizer.backward((w * torch.tensor([3.0, 4.0])).sum()) == 0
    assert optimizer.step(0) == {"grad_norm": 5.0, "learning_rate": 0.1}
    torch.testing.assert_close(w.data, torch.tensor([-0.1, -0.1]), atol=1e-6, rtol=0)
    first_moment = optimizer.tensors()["exp_avg/w"]
    torch.testing.assert_close(first_moment, torch.tensor([0.06, 0.08]), atol=1e-6, rtol=0)


def test_gradient_that_is_not_finite_changes_nothing_but_is_forgotten():
    w = nn.Parameter(torch.tensor([1.0]))
    optimizer = Optimizer({"w": w}, settings(), num_updates=3)
    optimizer.backward((2 * w).sum())
    optimizer.step(0)
    before = {name: tensor.clone() for name, tensor in optimizer.tensors().items()}
    moved = w.item()
    optimizer.backward((w * 0).sqrt().sum())  # finite value, infinite slope
    assert optimizer.step(1) is None
    assert w.item() == moved
    assert w.grad is None
    assert all(torch.equal(before[name], now) for name, now in optimizer.tensors().items())
    assert before["step/w"].item() == 1


def test_ema_matches_hand_calculation_and_puts_weights_back():
    w = nn.Parameter(torch.zeros(1))
    ema = Ema({"w": w}, decay=0.75, every=2)
    for done in (1, 2, 3, 4):
        w.data += 1
        ema.update(done)
    # after 2: 0.25 x 2 = 0.5; after 4: 0.75 x 0.5 + 0.25 x 4 = 1.375
    assert ema.average["w"].item() == pytest.approx(1.375)
    with ema.applied():
        assert w.item() == pytest.approx(1.375)
    assert w.item() == 4
