import math

import pytest
import torch

from uae.errors import TrainingError
from uae.recipe import RewardsRecipe
from uae.rewards.combine import caption_reward, drawing_reward


def recipe(length=0.5, transcription=0.25, repetition=2.0):
    return RewardsRecipe(
        scorer="clip",
        reconstruction=2.0,
        length={"weight": length, "max_ratio": 2.0},
        transcription={"weight": transcription, "truth": "facts"},
        repetition={"weight": repetition},
    )


def test_total_matches_hand_calculation():
    # 2 x 0.5 - 0.5 x (6/4 - 1) - 0.25 x 1 - 2 x 1/6: six words, a repeated one, a missing word.
    rewards = caption_reward(
        torch.tensor([0.5]),
        recipe(),
        captions=["a a b c d e"],
        base_words=2.0,
        true_texts=[["TOP"]],
    )
    assert rewards.total_N.item() == pytest.approx(1 - 0.25 - 0.25 - 1 / 3)
    assert rewards.parts["length"].item() == pytest.approx(0.5)


def test_a_drawings_reward_is_its_cosine():
    rewards = drawing_reward(torch.tensor([0.5, 0.25]))
    assert rewards.total_N.tolist() == [0.5, 0.25]
    assert list(rewards.parts) == ["reconstruction"]


def test_a_guard_of_weight_zero_is_not_computed():
    rewards = caption_reward(torch.tensor([0.5]), recipe(0, 0, 0), captions=["a a"])
    assert rewards.total_N.tolist() == [1.0]


def test_metrics_name_the_total_and_every_part():
    cosines = torch.tensor([0.5, 0.5, 0.1, 0.3])
    rewards = caption_reward(cosines, recipe(0, 0, 0), captions=["a"] * 4)
    metrics = rewards.metrics(group_size=2)
    assert metrics["reward/mean"] == pytest.approx(0.7)
    assert metrics["reward/reconstruction"] == pytest.approx(0.35)
    assert metrics["reward/zero_std_share"] == pytest.approx(0.5)
    assert metrics["reward/std"] == pytest.approx(2 * math.sqrt(0.11 / 4), abs=1e-6)


def test_rewards_carry_no_gradient():
    cosines = torch.ones(2, requires_grad=True)
    assert not drawing_reward(cosines).total_N.requires_grad
    rewards = caption_reward(cosines, recipe(0, 0, 0), captions=["a", "b"])
    assert not rewards.total_N.requires_grad


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_reward_that_is_no_number_names_part_and_rollout(bad):
    with pytest.raises(TrainingError, match=r"'reconstruction' is not finite for rollouts \[1\]"):
        drawing_reward(torch.tensor([0.5, bad]))
    with pytest.raises(TrainingError, match=r"'reconstruction' is not finite for rollouts \[1\]"):
        caption_reward(torch.tensor([0.5, bad]), recipe(0, 0, 0), captions=["a", "b"])


def test_guards_need_what_they_compare_with():
    with pytest.raises(ValueError, match="needs base_words"):
        caption_reward(torch.ones(1), recipe(), captions=["a"], true_texts=[None])
    with pytest.raises(ValueError, match="needs true_texts"):
        caption_reward(torch.ones(1), recipe(), captions=["a"], base_words=1.0)
