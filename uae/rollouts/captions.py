"""Caption rollouts: G captions for each image, with the log-probs at which they were drawn.

Shape letters: P images, G captions for each, N = P x G, L caption tokens, T image tokens,
D width. Caption n = p * G + g belongs to image p.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from uae.models.captioning import CaptionScores, SharedLevels, score_captions, write_captions
from uae.models.encoder import CaptionPrompts, Encoder
from uae.recipe import CaptionRolloutRecipe


@dataclass(frozen=True)
class CaptionRollout:
    """A batch of groups of captions, and what is needed to score them again."""

    completion_ids_NL: Tensor  # int64, padded on the right; L is the longest caption's length
    mask_NL: Tensor  # float32; 1 for real tokens, the end of turn included
    log_probs_NL: Tensor  # float32, at the rollout's temperature; 0 where padded
    texts: list[str]
    prompts: CaptionPrompts  # of the P images
    features_PTD: Tensor  # the vision tower's output, which no stage trains

    @property
    def group_size(self) -> int:
        """G."""
        return len(self.completion_ids_NL) // len(self.features_PTD)

    @property
    def num_tokens(self) -> int:
        """Real tokens in all captions."""
        return int(self.mask_NL.sum())

    def padded(self, length: int) -> "CaptionRollout":
        """Return the same captions, as tensors of at least `length` tokens."""
        missing = max(length - self.mask_NL.shape[1], 0)
        return replace(
            self,
            completion_ids_NL=pad(self.completion_ids_NL, (0, missing)),
            mask_NL=pad(self.mask_NL, (0, missing)),
            log_probs_NL=pad(self.log_probs_NL, (0, missing)),
        )

    def part(self, first: int, last: int) -> "CaptionRollout":
        """Return the groups of images first .. last - 1, for a minibatch or an accumulation step.

        Raises:
            ValueError: If there are no such images.
        """
        images = len(self.features_PTD)
        if not 0 <= first < last <= images:
            raise ValueError(f"images {first} .. {last} are not part of a rollout of {images}")
        rows = slice(first * self.group_size, last * self.group_size)
        ids, attention, pixels, grid = self.prompts
        patches = len(pixels) // images
        prompts = CaptionPrompts(
            ids[first:last],
            attention[first:last],
            pixels[first * patches : last * patches],
            grid[first:last],
        )
        return CaptionRollout(
            self.completion_ids_NL[rows],
            self.mask_NL[rows],
            self.log_probs_NL[rows],
            self.texts[rows],
            prompts,
            self.features_PTD[first:last],
        )


@torch.no_grad()
def rollout_captions(
    encoder: Encoder,
    images_PCHW: Tensor,
    recipe: CaptionRolloutRecipe,
    generator: torch.Generator | SharedLevels,
) -> CaptionRollout:
    """Write a group of captions for each image, all in one batch with a key-value cache.

    The vision tower and the prompt are run once per image, not once per caption.

    Args:
        encoder: Its active adapters are the policy.
        images_PCHW: RGB in [0, 1], all of one size.
        recipe: Group size, length and temperature.
        generator: Source of the draws.

    Raises:
        ModelError: If the images are not one tensor of RGB pictures.
    """
    prompts = encoder.caption_prompt(images_PCHW)
    features = encoder.image_features(prompts)
    written = write_captions(
        encoder,
        prompts,
        features,
        group_size=recipe.group_size,
        max_new_tokens=recipe.max_new_tokens,
        temperature=recipe.temperature,
        generator=generator,
    )
    return CaptionRollout(*written, prompts, features)


def caption_log_probs(
    encoder: Encoder, rollout: CaptionRollout, *, temperature: float
) -> CaptionScores:
    """Score a rollout's captions under the encoder's active adapters, with gradient.

    Args:
        encoder: The policy; under `encoder.disabled(name)`, the reference.
        rollout: Whole, or a part of one.
        temperature: The rollout's.

    Returns:
        Log-probs and entropy, both (N, L). Unchanged weights give the rollout's log-probs to
        about 1e-6.
    """
    return score_captions(
        encoder,
        rollout.prompts,
        rollout.features_PTD,
        rollout.completion_ids_NL,
        rollout.mask_NL,
        temperature=temperature,
    )
