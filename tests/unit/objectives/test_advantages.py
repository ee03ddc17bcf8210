import math

import pytest
import torch

from uae.objectives.advantages import group_advantages, zero_std_share

REWARDS = torch.tensor([[0.0, 1.0], [2.0, 8.0]])


def test_group_scale_matches_hand_calculation():
    # Row 1: mean 0.5, std 0.5; row 2: mean 5, std 3.
    advantages = group_advantages(REWARDS, scale="group")
    row = 0.5 / 0.5001, 3 / 3.0001
    expected = torch.tensor([[-row[0], row[0]], [-row[1], row[1]]])
    torch.testing.assert_close(advantages, expected)


def test_batch_scale_matches_hand_calculation():
    # All four: mean 2.75, squares 7.5625 + 3.0625 + 0.5625 + 27.5625 = 38.75, std sqrt(38.75 / 4).
    std = math.sqrt(38.75 / 4) + 1e-4
    advantages = group_advantages(REWARDS, scale="batch")
    torch.testing.assert_close(advantages, torch.tensor([[-0.5, 0.5], [-3.0, 3.0]]) / std)


def test_no_scale_is_the_distance_from_the_groups_mean():
    expected = torch.tensor([[-0.5, 0.5], [-3.0, 3.0]])
    assert torch.equal(group_advantages(REWARDS, scale="none"), expected)


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_a_bonus_for_a_whole_group_changes_nothing(scale):
    # The batch's std sees a shift of one group only, so there all groups move alike.
    bonus = torch.tensor([[7.0], [7.0 if scale == "batch" else -2.0]])
    torch.testing.assert_close(
        group_advantages(REWARDS + bonus, scale=scale), group_advantages(REWARDS, scale=scale)
    )


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_permuting_rollouts_permutes_advantages(scale):
    flipped = group_advantages(REWARDS.flip(1), scale=scale)
    torch.testing.assert_close(flipped, group_advantages(REWARDS, scale=scale).flip(1))


def test_group_scale_does_not_see_the_unit_of_the_reward():
    large = group_advantages(1000 * REWARDS, scale="group")
    torch.testing.assert_close(large, group_advantages(REWARDS, scale="group"), atol=3e-4, rtol=0)


def test_equal_rewards_have_no_advantage():
    assert torch.equal(group_advantages(torch.ones(2, 3), scale="group"), torch.zeros(2, 3))


def test_advantages_are_clipped():
    rewards = torch.zeros(1, 101)
    rewards[0, 0] = 1
    assert group_advantages(rewards, scale="group").max() > 9
    assert group_advantages(rewards, scale="group", max_advantage=5.0).max() == 5


def test_advantages_carry_no_gradient():
    rewards = REWARDS.clone().requires_grad_()
    assert not group_advantages(rewards, scale="group").requires_grad


def test_zero_std_share_counts_groups_of_equal_rewards():
    rewards = torch.tensor([[0.5, 0.5], [0.5, 0.5 + 1e-7], [0.5, 0.51], [0.1, 0.9]])
    assert zero_std_share(rewards) == pytest.approx(0.5)


@pytest.mark.parametrize("bad", [torch.zeros(4), torch.zeros(4, 1)])
def test_a_group_of_one_is_refused(bad):
    with pytest.raises(ValueError, match="2 or more rollouts"):
        group_advantages(bad, scale="group")


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_reward_that_is_no_number_is_refused(bad):
    with pytest.raises(ValueError, match="not finite"):
        group_advantages(torch.tensor([[0.0, bad]]), scale="group")
