"""Advantages: how much better a rollout is than its group.

Shape letters: P prompts (images or captions), G rollouts of each.
Sources: GRPO, arXiv:2402.03300 (group); Flow-GRPO, arXiv:2505.05470 (batch); Dr.GRPO,
arXiv:2503.20783 (none).
"""

from typing import Literal

import torch
from torch import Tensor

_STD_FLOOR = 1e-4
_SAME_REWARD = 1e-6  # cosines of equal pictures differ by float32 rounding


def group_advantages(
    rewards_PG: Tensor,
    *,
    scale: Literal["group", "batch", "none"],
    max_advantage: float | None = None,
) -> Tensor:
    """Return (reward - mean of its group) / (std + 1e-4).

    Args:
        rewards_PG: One row for each prompt.
        scale: Whose standard deviation divides: the group's, that of all rewards in the
            batch, or none. The deviation is the population's (divided by n).
        max_advantage: Advantages are clipped to plus and minus this. None does not clip.

    Returns:
        Advantages (P, G), detached.

    Raises:
        ValueError: If there are fewer than two rollouts in a group, or a reward is not finite.
    """
    rewards = _checked(rewards_PG)
    advantages = rewards - rewards.mean(dim=1, keepdim=True)
    if scale == "group":
        advantages = advantages / (rewards.std(dim=1, keepdim=True, correction=0) + _STD_FLOOR)
    elif scale == "batch":
        advantages = advantages / (rewards.std(correction=0) + _STD_FLOOR)
    if max_advantage is not None:
        advantages = advantages.clamp(-max_advantage, max_advantage)
    return advantages


def zero_std_share(rewards_PG: Tensor) -> float:
    """Return the share of groups whose rewards are all alike, which therefore teach nothing."""
    rewards = _checked(rewards_PG)
    spread_P = rewards.amax(dim=1) - rewards.amin(dim=1)
    return (spread_P <= _SAME_REWARD).float().mean().item()


def _checked(rewards_PG: Tensor) -> Tensor:
    if rewards_PG.ndim != 2 or rewards_PG.shape[1] < 2:
        raise ValueError(
            f"rewards must be (prompts, rollouts) with 2 or more rollouts, got shape "
            f"{tuple(rewards_PG.shape)}"
        )
    if not torch.isfinite(rewards_PG).all():
        raise ValueError(f"a reward is not finite: {rewards_PG.tolist()}")
    return rewards_PG.detach().float()
