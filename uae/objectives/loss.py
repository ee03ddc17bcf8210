"""What every objective returns, and the clipped surrogate that three of them share."""

from typing import NamedTuple

import torch
from torch import Tensor

from uae.errors import TrainingError


class Loss(NamedTuple):
    """A scalar to differentiate, and numbers to plot."""

    loss: Tensor  # ()
    metrics: dict[str, float]
    weight: int = 1  # of the metrics' means beside those of other losses: tokens, where they vary


class Surrogate(NamedTuple):
    """PPO's pessimistic surrogate, element by element."""

    loss: Tensor  # same shape as the log-ratio
    ratio: Tensor
    is_clipped: Tensor  # bool: the clip stops this element's gradient


def clipped_surrogate(
    log_ratio: Tensor, advantages: Tensor, clip_low: float, clip_high: float
) -> Surrogate:
    """Return max(-A r, -A clip(r, 1 - clip_low, 1 + clip_high)) with r = exp(log_ratio).

    Args:
        log_ratio: log of policy over rollout probability, any shape.
        advantages: Broadcastable to it.
        clip_low: How far the ratio may fall before its gradient stops.
        clip_high: How far it may rise.

    Source: PPO, arXiv:1707.06347; two different ranges: DAPO, arXiv:2503.14476.
    """
    ratio = log_ratio.exp()
    plain = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - clip_low, 1 + clip_high)
    return Surrogate(torch.maximum(plain, clipped), ratio, clipped > plain)


def ratio_metrics(surrogate: Surrogate, mask: Tensor | None = None) -> dict[str, float]:
    """Return ratio/mean, ratio/max_deviation from 1, and clip_share, over the masked elements."""
    keep = torch.ones_like(surrogate.is_clipped) if mask is None else mask.bool()
    ratio = surrogate.ratio.detach()[keep]
    return {
        "ratio/mean": ratio.mean().item(),
        "ratio/max_deviation": (ratio - 1).abs().max().item(),
        "clip_share": surrogate.is_clipped[keep].float().mean().item(),
    }


def require_first_ratio(loss: Loss, tolerance: float) -> None:
    """Check the first minibatch after a rollout: nothing was updated, so the ratio must be 1.

    Raises:
        TrainingError: If a ratio is further from 1 than the tolerance, or not a number.
    """
    deviation = loss.metrics["ratio/max_deviation"]
    if not deviation <= tolerance:
        raise TrainingError(
            f"the first ratio after a rollout deviates from 1 by {deviation:.3g}, more than "
            f"ratio_tolerance={tolerance:.3g}: rollout and training compute different "
            "log-probabilities; raise ratio_tolerance only where the precision explains it"
        )
