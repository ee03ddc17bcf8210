"""Rewards: of a caption, weighted reconstruction cosine minus guards; of a drawing, the cosine.

Shape letters: N rollouts, in groups of G.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from uae.errors import TrainingError
from uae.objectives.advantages import zero_std_share
from uae.recipe import RewardsRecipe
from uae.rewards.guards import length_penalty, repetition_penalty, transcription_penalty


class Rewards(NamedTuple):
    """What every rollout earned, and from what."""

    total_N: Tensor  # float32, detached
    parts: dict[str, Tensor]  # reconstruction, length, ...: (N,) each, before its weight

    def metrics(self, group_size: int) -> dict[str, float]:
        """Return reward/mean, reward/std, reward/zero_std_share and the mean of every part."""
        means = {f"reward/{name}": part.mean().item() for name, part in self.parts.items()}
        return {
            "reward/mean": self.total_N.mean().item(),
            "reward/std": self.total_N.std(correction=0).item(),
            "reward/zero_std_share": zero_std_share(self.total_N.reshape(-1, group_size)),
            **means,
        }


def caption_reward(
    cosines_N: Tensor,
    recipe: RewardsRecipe,
    *,
    captions: Sequence[str],
    base_words: float | None = None,
    true_texts: Sequence[Sequence[str] | None] | None = None,
) -> Rewards:
    """Weigh the reconstruction and the guards.

    Args:
        cosines_N: Of each caption's reconstruction with its original.
        recipe: Weights; a guard of weight 0 is not computed.
        captions: N captions.
        base_words: Mean number of words of the base model's captions.
        true_texts: For each caption, the texts in its picture; None where unknown.

    Raises:
        TrainingError: If a part is not finite, naming the part and the rows.
        ValueError: If a guard with a weight lacks what it compares with.
    """
    parts = {"reconstruction": cosines_N.detach().float()}
    total_N = recipe.reconstruction * parts["reconstruction"]
    for name, penalty_N in _penalties(captions, recipe, base_words, true_texts).items():
        parts[name] = penalty_N.to(cosines_N.device)
        weight: float = getattr(recipe, name).weight
        total_N = total_N - weight * parts[name]
    return _finite(Rewards(total_N, parts))


def drawing_reward(cosines_N: Tensor) -> Rewards:
    """Reward drawings by their cosines alone.

    There is no guard: it would be the same for all drawings of one caption. Nor a weight:
    advantages are divided by the rewards' standard deviation.

    Raises:
        TrainingError: If a cosine is not finite, naming the rows.
    """
    cosines = cosines_N.detach().float()
    return _finite(Rewards(cosines, {"reconstruction": cosines}))


def _finite(rewards: Rewards) -> Rewards:
    for name, part in rewards.parts.items():
        if not torch.isfinite(part).all():
            rows = (~torch.isfinite(part)).nonzero().flatten().tolist()
            raise TrainingError(f"reward part {name!r} is not finite for rollouts {rows}")
    return rewards


def _penalties(
    captions: Sequence[str],
    recipe: RewardsRecipe,
    base_words: float | None,
    true_texts: Sequence[Sequence[str] | None] | None,
) -> dict[str, Tensor]:
    penalties: dict[str, Tensor] = {}
    if recipe.length.weight > 0:
        if base_words is None:
            raise ValueError("the length guard needs base_words")
        max_ratio = recipe.length.max_ratio
        penalties["length"] = length_penalty(captions, base_words=base_words, max_ratio=max_ratio)
    if recipe.transcription.weight > 0:
        if true_texts is None:
            raise ValueError("the transcription guard needs true_texts")
        penalties["transcription"] = transcription_penalty(captions, true_texts)
    if recipe.repetition.weight > 0:
        penalties["repetition"] = repetition_penalty(captions)
    return penalties
