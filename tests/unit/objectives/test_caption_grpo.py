import math

import pytest
import torch

from uae.errors import TrainingError
from uae.objectives.caption_grpo import caption_grpo_loss, kl_k3
from uae.objectives.loss import Loss, clipped_surrogate, require_first_ratio
from uae.recipe import CaptionGrpoRecipe

MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]])
ADVANTAGES = torch.tensor([1.0, -0.5, 2.0])


def recipe(**changes):
    settings = {
        "scale_by_std": True,
        "aggregation": "token",
        "clip_low": 0.2,
        "clip_high": 0.28,
        "kl_weight": 0.0,
    }
    return CaptionGrpoRecipe(**(settings | changes))


def log_probs(seed, spread=0.1):
    generator = torch.Generator().manual_seed(seed)
    return -1 + spread * torch.randn(3, 4, generator=generator)


def test_at_ratio_one_the_loss_is_minus_the_mean_advantage_of_a_token():
    # (4 x 1 - 2 x 0.5 + 1 x 2) / 7 = 5 / 7
    loss = caption_grpo_loss(log_probs(0), log_probs(0), ADVANTAGES, MASK, recipe())
    assert loss.loss.item() == pytest.approx(-5 / 7)
    assert loss.metrics["ratio/max_deviation"] == 0
    assert loss.metrics["ratio/mean"] == 1
    assert loss.metrics["clip_share"] == 0


def test_sequence_aggregation_weighs_captions_alike_whatever_their_length():
    settings = recipe(aggregation="sequence")
    loss = caption_grpo_loss(log_probs(0), log_probs(0), ADVANTAGES, MASK, settings)
    assert loss.loss.item() == pytest.approx(-(1 - 0.5 + 2) / 3)


def test_clip_matches_hand_calculation():
    # Ratios 1.5 and 0.5 for advantages +1 and -1: both beyond the range, both held by the clip.
    ratio = torch.tensor([[1.5], [0.5]])
    rollout = torch.zeros(2, 1)
    loss = caption_grpo_loss(
        ratio.log(), rollout, torch.tensor([1.0, -1.0]), torch.ones(2, 1), recipe()
    )
    assert loss.loss.item() == pytest.approx((-1.28 + 0.8) / 2)
    assert loss.metrics["clip_share"] == 1
    assert loss.metrics["ratio/max_deviation"] == pytest.approx(0.5)


def test_clip_never_hides_a_worse_outcome():
    # Ratio 1.5 for advantage -1 and 0.5 for +1: the pessimistic side is the plain one.
    ratio = torch.tensor([1.5, 0.5])
    surrogate = clipped_surrogate(ratio.log(), torch.tensor([-1.0, 1.0]), 0.2, 0.28)
    torch.testing.assert_close(surrogate.loss, torch.tensor([1.5, -0.5]))
    assert not surrogate.is_clipped.any()


def test_clip_high_leaves_more_room_upwards():
    up = torch.tensor([1.25]).log()
    assert not clipped_surrogate(up, torch.ones(1), 0.2, 0.28).is_clipped.any()
    assert clipped_surrogate(up, torch.ones(1), 0.2, 0.2).is_clipped.all()


def test_kl_of_a_policy_with_itself_is_zero_and_of_another_positive():
    assert torch.equal(kl_k3(log_probs(0), log_probs(0)), torch.zeros(3, 4))
    assert (kl_k3(log_probs(0), log_probs(1)) > 0).all()
    # d = log 2: 2 - log 2 - 1
    doubled = kl_k3(torch.zeros(1), torch.full((1,), math.log(2)))
    assert doubled.item() == pytest.approx(1 - math.log(2))


def test_kl_is_measured_even_when_it_has_no_weight():
    loss = caption_grpo_loss(
        log_probs(0), log_probs(0), ADVANTAGES, MASK, recipe(), reference_log_probs_NL=log_probs(1)
    )
    assert loss.metrics["kl"] > 0
    assert loss.loss.item() == pytest.approx(-5 / 7)
    without = caption_grpo_loss(log_probs(0), log_probs(0), ADVANTAGES, MASK, recipe())
    assert "kl" not in without.metrics


@pytest.mark.parametrize("aggregation", ["token", "sequence"])
@pytest.mark.parametrize("kl_weight", [0.0, 0.3])
def test_gradient_agrees_with_autograd_on_the_formula(aggregation, kl_weight):
    rollout, reference = log_probs(1, 0.3), log_probs(2, 0.3)
    policy = log_probs(0, 0.3).requires_grad_()
    ours = caption_grpo_loss(
        policy,
        rollout,
        ADVANTAGES,
        MASK,
        recipe(aggregation=aggregation, kl_weight=kl_weight),
        reference if kl_weight else None,
    ).loss
    (gradient,) = torch.autograd.grad(ours, policy)

    written = torch.zeros(())
    again = policy.detach().clone().requires_grad_()
    for n, length in enumerate((4, 2, 1)):
        for token in range(length):
            r = torch.exp(again[n, token] - rollout[n, token])
            a = ADVANTAGES[n]
            value = -torch.minimum(r * a, torch.clamp(r, 0.8, 1.28) * a)
            d = reference[n, token] - again[n, token]
            value = value + kl_weight * (torch.exp(d) - d - 1)
            written = written + value / (7 if aggregation == "token" else 3 * length)
    (expected,) = torch.autograd.grad(written, again)
    torch.testing.assert_close(ours, written)
    torch.testing.assert_close(gradient, expected)
    assert (gradient[MASK == 0] == 0).all()


@pytest.mark.parametrize("aggregation", ["token", "sequence"])
def test_parts_of_a_batch_add_up_to_the_batch(aggregation):
    settings = recipe(aggregation=aggregation, kl_weight=0.1)
    policy, rollout, reference = log_probs(0), log_probs(1), log_probs(2)
    whole = caption_grpo_loss(policy, rollout, ADVANTAGES, MASK, settings, reference).loss
    parts = [
        caption_grpo_loss(
            policy[rows],
            rollout[rows],
            ADVANTAGES[rows],
            MASK[rows],
            settings,
            reference[rows],
            num_tokens=7,
            num_captions=3,
        ).loss
        for rows in ([0, 2], [1])
    ]
    torch.testing.assert_close(sum(parts), whole)


def test_what_stands_after_the_end_of_a_caption_does_not_matter():
    noisy = log_probs(0).masked_fill(MASK == 0, -1000.0)
    clean = caption_grpo_loss(log_probs(0), log_probs(1), ADVANTAGES, MASK, recipe())
    assert caption_grpo_loss(noisy, log_probs(1), ADVANTAGES, MASK, recipe()) == clean


def test_impossible_arguments_are_refused():
    empty = torch.tensor([[1, 1, 1, 1], [0, 0, 0, 0], [1, 0, 0, 0]])
    with pytest.raises(ValueError, match="without a token"):
        caption_grpo_loss(log_probs(0), log_probs(0), ADVANTAGES, empty, recipe())
    with pytest.raises(ValueError, match="needs the reference"):
        caption_grpo_loss(log_probs(0), log_probs(0), ADVANTAGES, MASK, recipe(kl_weight=0.1))


@pytest.mark.parametrize("deviation", [2e-4, math.nan])
def test_a_first_ratio_away_from_one_stops_training(deviation):
    loss = Loss(torch.zeros(()), {"ratio/max_deviation": deviation})
    with pytest.raises(TrainingError, match="first ratio after a rollout"):
        require_first_ratio(loss, 1e-4)
    require_first_ratio(Loss(torch.zeros(()), {"ratio/max_deviation": 5e-5}), 1e-4)
