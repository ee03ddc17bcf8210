import pytest
import torch

from uae.flow_matching.path import interpolate
from uae.objectives.diffusion_nft import diffusion_nft_loss
from uae.recipe import DiffusionNftRecipe

T = torch.tensor([0.3, 0.8])


def recipe(beta=0.5, reference_weight=1e-4, max_advantage=5.0):
    return DiffusionNftRecipe(
        kind="diffusion_nft",
        beta=beta,
        reference_weight=reference_weight,
        max_advantage=max_advantage,
        old_policy_decay=0.9,
        num_times=2,
    )


def draw(seed):
    return torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(seed))


def test_loss_matches_hand_calculation():
    # One number: x = 1, t = 1/2, clean = 0, v = 1, v_old = 0, beta = 1/2.
    # v+ = 1/2: error 1 - 1/4 = 3/4; v- = -1/2: error 5/4. Each square over its size: 3/4, 5/4.
    # A = 2.5 of 5: r = 3/4. ((3/4)(3/4) + (1/4)(5/4)) / beta = 7/4; times 5; + 0.1 x (1 - 3)^2.
    one = torch.ones(1, 1, 1, 1)
    loss = diffusion_nft_loss(
        one, 0 * one, 3 * one, one, torch.tensor([0.5]), 0 * one, torch.tensor([2.5]),
        recipe(reference_weight=0.1),
    )  # fmt: skip
    assert loss.loss.item() == pytest.approx(5 * 7 / 4 + 0.1 * 4)
    assert loss.metrics["kl"] == pytest.approx(4)
    assert loss.metrics["old_policy_distance"] == pytest.approx(1)


def test_gradient_agrees_with_autograd_on_the_formula():
    clean, noise, old, reference = draw(0), draw(1), draw(2), draw(3)
    advantages, beta = torch.tensor([3.0, -7.0]), 0.7
    x = interpolate(clean, noise, T)
    v = draw(4).requires_grad_()
    loss = diffusion_nft_loss(v, old, reference, x, T, clean, advantages, recipe(beta, 0.01))
    (gradient,) = torch.autograd.grad(loss.loss, v)

    again = v.detach().clone().requires_grad_()
    written = 0.01 * ((again - reference) ** 2).mean()
    for n, r in enumerate((0.8, 0.0)):
        for weight, velocity in (
            (r, beta * again[n] + (1 - beta) * old[n]),
            (1 - r, (1 + beta) * old[n] - beta * again[n]),
        ):
            error = x[n] - T[n] * velocity - clean[n]
            size = error.detach().abs().mean()
            written = written + 5 * weight * (error**2 / size).mean() / beta / 2
    (expected,) = torch.autograd.grad(written, again)
    torch.testing.assert_close(loss.loss, written)
    torch.testing.assert_close(gradient, expected)


def test_a_good_picture_pulls_and_a_bad_one_pushes():
    clean, noise = draw(0), draw(1)
    x = interpolate(clean, noise, T)
    v = draw(2).requires_grad_()
    towards = (v - (noise - clean)).detach()  # gradient of the plain flow-matching loss

    def gradient(advantage):
        advantages = torch.full((2,), advantage)
        settings = recipe(reference_weight=0.0)
        loss = diffusion_nft_loss(v, v.detach(), v.detach(), x, T, clean, advantages, settings)
        return torch.autograd.grad(loss.loss, v)[0]

    assert (gradient(5.0) * towards).sum() > 0
    assert (gradient(-5.0) * towards).sum() < 0
    torch.testing.assert_close(gradient(0.0), torch.zeros_like(v), atol=1e-7, rtol=0)


def test_advantages_saturate_at_their_limit():
    arguments = (draw(0), draw(1), draw(2), draw(3), T, draw(4))
    at = diffusion_nft_loss(*arguments, torch.tensor([5.0, -5.0]), recipe())
    beyond = diffusion_nft_loss(*arguments, torch.tensor([50.0, -9.0]), recipe())
    assert torch.equal(at.loss, beyond.loss)
    assert at.metrics["clip_share"] == 1


def test_a_perfect_prediction_is_no_division_by_zero():
    clean, noise = draw(0), draw(1)
    v = (noise - clean).requires_grad_()
    x = interpolate(clean, noise, T)
    loss = diffusion_nft_loss(
        v, v.detach(), v.detach(), x, T, clean, torch.tensor([5.0, 5.0]), recipe()
    )
    (gradient,) = torch.autograd.grad(loss.loss, v)
    assert torch.isfinite(gradient).all()
    assert loss.loss.item() == pytest.approx(0, abs=1e-5)
