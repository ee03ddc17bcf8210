"""A rollout's log-probs by the trainer's own forward pass, where blocks compute in bfloat16.

Their last digits depend on the batch: a caption that is written token by token, or a step that is
drawn with more pictures at once, does not come out as the trainer computes it again. The ratio
would start away from 1, so the trainer's own numbers take the place of those of drawing. They must
be nearly equal: what differs by more than rounding is a fault, such as another position or adapter.

Shape letters: N captions or trajectories, L tokens; C, H, W of latents.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from uae.errors import TrainingError
from uae.flow_matching.sde import SdeStep
from uae.models.decoder import Decoder
from uae.models.encoder import Encoder
from uae.rollouts.captions import CaptionRollout, caption_log_probs
from uae.rollouts.images import ImageRollout, replay_steps

# Far above the rounding of numbers with 8 bits, and below what a wrong position or adapter makes.
MAX_TOKEN_GAP = 0.2  # nats, mean over the tokens
MAX_MEAN_GAP = 0.5  # standard deviations of the step, root mean square


@torch.no_grad()
def rescore_captions(
    encoder: Encoder, rollout: CaptionRollout, parts: Sequence[slice], *, temperature: float
) -> CaptionRollout:
    """Return the rollout with the encoder's own log-probs of some parts.

    Args:
        encoder: With the weights that wrote the captions.
        rollout: Whole.
        parts: Images of each backward pass: what goes through the model at once.
        temperature: The rollout's.
    """
    if not parts:
        return rollout
    log_probs_NL, group = rollout.log_probs_NL.clone(), rollout.group_size
    for part in parts:
        groups = rollout.part(part.start, part.stop)
        own = caption_log_probs(encoder, groups, temperature=temperature)
        token_gap(own.log_probs_NL, groups)
        log_probs_NL[part.start * group : part.stop * group] = own.log_probs_NL
    return replace(rollout, log_probs_NL=log_probs_NL)


@torch.no_grad()
def rescore_steps(decoder: Decoder, rollout: ImageRollout, parts: Sequence[slice]) -> ImageRollout:
    """Return the rollout with the decoder's own log-probs and means of some parts.

    Args:
        decoder: With the weights that drew.
        rollout: Whole.
        parts: Captions of each backward pass.
    """
    if not parts:
        return rollout
    log_probs_NW, means = rollout.log_probs_NW.clone(), rollout.means_NWCHW.clone()
    group = rollout.recipe.group_size
    for part in parts:
        groups = rollout.part(part.start, part.stop)
        rows = slice(part.start * group, part.stop * group)
        for w in range(groups.window_size):
            own = replay_steps(decoder, groups, w)
            mean_gap(own, groups.means_NWCHW[:, w])
            log_probs_NW[rows, w], means[rows, w] = own.log_prob, own.mean
    return replace(rollout, log_probs_NW=log_probs_NW, means_NWCHW=means)


def token_gap(own_log_probs_NL: Tensor, drawn: CaptionRollout) -> float:
    """Return the mean distance, in nats, between the trainer's log-probs and those of drawing.

    Raises:
        TrainingError: If it is more than rounding.
    """
    distance_NL = (own_log_probs_NL.detach() - drawn.log_probs_NL).abs() * drawn.mask_NL
    gap = (distance_NL.sum() / drawn.mask_NL.sum()).item()
    return _require(gap, MAX_TOKEN_GAP, "nats in a token's log-probability, on average")


def mean_gap(own: SdeStep, drawn_mean_NCHW: Tensor) -> float:
    """Return the distance between a step's mean as trained and as drawn, in its deviations.

    Raises:
        TrainingError: If it is more than rounding.
    """
    distance = (own.mean.detach() - drawn_mean_NCHW).square().mean().sqrt() / own.std
    return _require(distance.item(), MAX_MEAN_GAP, "standard deviations in a step's mean")


def _require(gap: float, limit: float, unit: str) -> float:
    if gap > limit:  # what is no number is for the loss to tell
        raise TrainingError(
            f"rollout and training differ by {gap:.3g} {unit}, more than {limit}, which the "
            "rounding of bfloat16 does not explain: they compute with other weights or positions"
        )
    return gap
