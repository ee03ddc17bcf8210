"""Flow-GRPO and GRPO-Guard, on both kinds of step."""

import math

import pytest
import torch

from uae.flow_matching.sde import step_fn
from uae.objectives.flow_grpo import flow_grpo_loss
from uae.objectives.grpo_guard import grpo_guard_loss
from uae.recipe import FlowGrpoRecipe, GrpoGuardRecipe

WHEN = {"t": 0.6, "t_next": 0.45, "t_max": 0.9, "noise_level": 0.7}
ADVANTAGES = torch.tensor([1.0, -2.0, 0.5])
KINDS = pytest.mark.parametrize("kind", ["sde", "cps"])
OBJECTIVES = pytest.mark.parametrize(
    ("objective", "name"), [(flow_grpo_loss, "flow_grpo"), (grpo_guard_loss, "grpo_guard")]
)


def recipe(name, clip_range=1e-3, kl_weight=0.0):
    form = {"flow_grpo": FlowGrpoRecipe, "grpo_guard": GrpoGuardRecipe}[name]
    return form(kind=name, clip_range=clip_range, kl_weight=kl_weight, max_advantage=5.0)


def draw(seed, size=1.0):
    return size * torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(seed))


def rolled_out(kind, policy_change=0.02, **when):
    """Latents, a step drawn by an old velocity, and a new velocity."""
    x, old = draw(0), draw(1)
    generator = torch.Generator().manual_seed(3)
    drawn = step_fn(kind)(old, x, **(WHEN | when), generator=generator)
    return x, drawn, old + draw(2, policy_change)


@KINDS
@OBJECTIVES
def test_the_policy_that_drew_the_step_has_ratio_one(kind, objective, name):
    x, drawn, same = rolled_out(kind, policy_change=0.0)
    step = step_fn(kind)(same, x, **WHEN, x_next_BCHW=drawn.x_next)
    loss = objective(step, drawn.log_prob, drawn.mean, ADVANTAGES, recipe(name), drawn.mean)
    assert loss.metrics["ratio/max_deviation"] == 0
    assert loss.metrics["kl"] == 0
    scale = step.step_size if name == "grpo_guard" else 1.0
    assert loss.loss.item() == pytest.approx(-ADVANTAGES.mean().item() / scale)


@KINDS
def test_flow_grpo_gradient_agrees_with_autograd_on_the_formula(kind):
    x, drawn, new = rolled_out(kind)
    new.requires_grad_()
    step = step_fn(kind)(new, x, **WHEN, x_next_BCHW=drawn.x_next)
    settings = recipe("flow_grpo", clip_range=2e-3, kl_weight=0.04)
    reference = draw(5)
    loss = flow_grpo_loss(step, drawn.log_prob, drawn.mean, ADVANTAGES, settings, reference)
    (gradient,) = torch.autograd.grad(loss.loss, new)

    v = new.detach().double().requires_grad_()
    x64, t, t_next = x.double(), WHEN["t"], WHEN["t_next"]
    if kind == "sde":
        s = 0.7 * math.sqrt(t / (1 - t))
        dt = t_next - t
        mean = x64 * (1 + s**2 / (2 * t) * dt) + v * (1 + s**2 * (1 - t) / (2 * t)) * dt
        normal = torch.distributions.Normal(mean, s * math.sqrt(-dt))
        log_prob = normal.log_prob(drawn.x_next.double()).mean(dim=(1, 2, 3))
    else:
        s = t_next * math.sin(0.35 * math.pi)
        mean = (x64 - t * v) * (1 - t_next) + (x64 + (1 - t) * v) * math.sqrt(t_next**2 - s**2)
        log_prob = -((drawn.x_next.double() - mean) ** 2).mean(dim=(1, 2, 3))
    ratio = torch.exp(log_prob - drawn.log_prob)
    plain, clipped = -ADVANTAGES * ratio, -ADVANTAGES * ratio.clamp(1 - 2e-3, 1 + 2e-3)
    kl = ((mean - reference) ** 2).mean() / (2 * s**2)
    written = torch.maximum(plain, clipped).mean() + 0.04 * kl
    (expected,) = torch.autograd.grad(written, v)
    assert loss.loss.item() == pytest.approx(written.item(), rel=1e-4)
    assert loss.metrics["kl"] == pytest.approx(kl.item(), rel=1e-4)
    torch.testing.assert_close(gradient.double(), expected, rtol=2e-3, atol=1e-6)


@KINDS
def test_guard_ratio_is_the_drawn_noise_times_the_move_of_the_mean(kind):
    x, drawn, new = rolled_out(kind)
    step = step_fn(kind)(new, x, **WHEN, x_next_BCHW=drawn.x_next)
    loss = grpo_guard_loss(
        step, drawn.log_prob, drawn.mean, ADVANTAGES, recipe("grpo_guard", clip_range=1.0)
    )
    noise = (drawn.x_next - drawn.mean) / drawn.std
    ratio = (noise * (step.mean - drawn.mean)).mean(dim=(1, 2, 3)).exp()
    assert loss.metrics["ratio/mean"] == pytest.approx(ratio.mean().item(), rel=1e-5)
    expected = (-ADVANTAGES * ratio).mean() / step.step_size
    assert loss.loss.item() == pytest.approx(expected.item(), rel=1e-4)


def test_guard_on_an_sde_step_is_the_papers_formula():
    x, drawn, new = rolled_out("sde")
    step = step_fn("sde")(new, x, **WHEN, x_next_BCHW=drawn.x_next)
    loss = grpo_guard_loss(
        step, drawn.log_prob, drawn.mean, ADVANTAGES, recipe("grpo_guard", clip_range=1.0)
    )
    s, dt = 0.7 * math.sqrt(0.6 / 0.4), -0.15
    bias = ((step.mean - drawn.mean) ** 2).mean(dim=(1, 2, 3)) / (2 * (math.sqrt(-dt) * s) ** 2)
    ratio = torch.exp((step.log_prob - drawn.log_prob + bias) * math.sqrt(-dt) * s)
    assert loss.loss.item() == pytest.approx(((-ADVANTAGES * ratio).mean() / -dt).item(), rel=1e-5)


def test_guard_removes_the_drift_of_the_ratio_below_one():
    # Over many trajectories the mean log-ratio is negative; Guard's is about zero.
    generator = torch.Generator().manual_seed(0)
    x, old, change = (torch.randn(512, 2, 4, 4, generator=generator) for _ in range(3))
    drawn = step_fn("sde")(old, x, **WHEN, generator=generator)
    step = step_fn("sde")(old + 0.5 * change, x, **WHEN, x_next_BCHW=drawn.x_next)
    arguments = (step, drawn.log_prob, drawn.mean, torch.ones(512))
    plain = flow_grpo_loss(*arguments, recipe("flow_grpo", clip_range=1.0))
    guard = grpo_guard_loss(*arguments, recipe("grpo_guard", clip_range=1.0))
    assert plain.metrics["ratio/mean"] < 0.995
    assert guard.metrics["ratio/mean"] == pytest.approx(1, abs=1e-3)


@OBJECTIVES
def test_beyond_the_clip_range_the_gradient_stops(objective, name):
    x, drawn, new = rolled_out("cps", policy_change=0.5)
    new.requires_grad_()
    step = step_fn("cps")(new, x, **WHEN, x_next_BCHW=drawn.x_next)
    ratio_below_one = torch.ones(3) * -1  # advantages that would push it further down
    loss = objective(
        step, drawn.log_prob, drawn.mean, ratio_below_one, recipe(name, clip_range=1e-9)
    )
    (gradient,) = torch.autograd.grad(loss.loss, new)
    stopped = gradient.flatten(1).abs().sum(dim=1) == 0
    assert stopped.float().mean().item() == pytest.approx(loss.metrics["clip_share"])
    assert stopped.any()


@OBJECTIVES
def test_a_weighted_kl_needs_a_reference(objective, name):
    x, drawn, new = rolled_out("cps")
    step = step_fn("cps")(new, x, **WHEN, x_next_BCHW=drawn.x_next)
    with pytest.raises(ValueError, match="needs the reference"):
        objective(step, drawn.log_prob, drawn.mean, ADVANTAGES, recipe(name, kl_weight=0.1))
    assert "kl" not in objective(step, drawn.log_prob, drawn.mean, ADVANTAGES, recipe(name)).metrics
