"""Writing captions with an encoder, and scoring captions that were written.

Both go through the same cache, positions and suppression, so that a caption's log-probs are
those of the distribution that it was sampled from.

Shape letters: P images, G captions for each, N = P x G, L caption tokens, T prompt tokens,
D width, V vocabulary. Caption n = p * G + g belongs to image p.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from uae.models.encoder import CaptionPrompts, Encoder, PromptState

SHRINK_BELOW = 0.75  # the batch drops ended captions when this share or less is still written


class Captions(Protocol):
    """Captions as tokens and texts, such as a rollout's."""

    @property
    def completion_ids_NL(self) -> Tensor:  # noqa: N802
        """Tokens (N, L)."""

    @property
    def mask_NL(self) -> Tensor:  # noqa: N802
        """1 for real tokens (N, L)."""

    @property
    def texts(self) -> list[str]:
        """The N texts."""


class WrittenCaptions(NamedTuple):
    """Captions as tokens and as texts, with the log-probs at which they were drawn."""

    completion_ids_NL: Tensor  # int64, padded on the right; L is the longest caption's length
    mask_NL: Tensor  # float32; 1 for real tokens, the end of turn included
    log_probs_NL: Tensor  # float32; 0 where padded
    texts: list[str]


class SharedLevels(Protocol):
    """Uniform numbers for captions that are one process's part of a larger batch."""

    def __call__(self, rows: Tensor, going: Tensor) -> Tensor:
        """Return a float64 number in [0, 1) for each row, (len(rows), 1).

        Args:
            rows: Captions of this process that a token is drawn for.
            going: Which of these rows have not ended.
        """


class CaptionScores(NamedTuple):
    """Log-probs of given captions, differentiable, and the policy's entropy at each token."""

    log_probs_NL: Tensor  # float32, nats; 0 where padded
    entropy_NL: Tensor  # float32, nats, without gradient; 0 where padded


@torch.no_grad()
def write_captions(
    encoder: Encoder,
    prompts: CaptionPrompts,
    features_PTD: Tensor,
    *,
    group_size: int,
    max_new_tokens: int,
    temperature: float,
    generator: torch.Generator | SharedLevels | None = None,
) -> WrittenCaptions:
    """Write `group_size` captions for each image, all of them in one batch.

    Args:
        encoder: Its active adapters write.
        prompts: From `Encoder.caption_prompt`.
        features_PTD: From `Encoder.image_features`.
        group_size: G.
        max_new_tokens: A caption that has not ended by then is cut.
        temperature: Divides the logits; 0 takes the likeliest token. No top-k or top-p.
        generator: Source of the draws, on any device; needed when temperature is above 0.
            One number is drawn for each caption that the batch still holds, token by token.

    Raises:
        ValueError: If there is no generator to sample with.
    """
    if temperature > 0 and generator is None:
        raise ValueError(f"sampling at {temperature=} needs a generator")
    # Folding saves a fifth of the time, but its rounding would show in the first ratio.
    with encoder.folded() if temperature == 0 else nullcontext():
        state = encoder.read_prompts(prompts, features_PTD)
        ids, log_probs = _sample(encoder, state, group_size, max_new_tokens, temperature, generator)
    ended = ids == encoder.tokenizer.eos_token_id
    mask = ((ended.cumsum(dim=1) - ended.long()) == 0).float()
    ids = torch.where(mask.bool(), ids, encoder.tokenizer.pad_token_id)
    return WrittenCaptions(ids, mask, log_probs * mask, decode_captions(encoder, ids, mask))


def score_captions(
    encoder: Encoder,
    prompts: CaptionPrompts,
    features_PTD: Tensor,
    completion_ids_NL: Tensor,
    mask_NL: Tensor,
    *,
    temperature: float,
) -> CaptionScores:
    """Compute the log-probs of captions under the encoder's active adapters.

    The prompt is read once per image; its keys and values, and their gradient, are shared by
    the image's captions.

    Args:
        encoder: The policy; under `encoder.disabled(name)`, the reference.
        prompts: Of P images.
        features_PTD: Of the same images.
        completion_ids_NL: Captions, N a multiple of P.
        mask_NL: 1 for real tokens.
        temperature: That of the sampling; above 0.
    """
    logits = caption_logits(encoder, prompts, features_PTD, completion_ids_NL) / temperature
    normaliser = logits.logsumexp(dim=-1)
    chosen = logits.gather(-1, completion_ids_NL[..., None]).squeeze(-1)
    with torch.no_grad():
        mean_logit = (torch.exp(logits - normaliser[..., None]) * logits).sum(dim=-1)
        entropy = (normaliser - mean_logit) * mask_NL
    return CaptionScores((chosen - normaliser) * mask_NL, entropy)


def caption_logits(
    encoder: Encoder, prompts: CaptionPrompts, features_PTD: Tensor, completion_ids_NL: Tensor
) -> Tensor:
    """Return the logits (N, L, V) with which each caption token is predicted, float32.

    Raises:
        ValueError: If the number of captions is no multiple of the number of images.
    """
    images, captions = len(prompts.input_ids), len(completion_ids_NL)
    if captions % images:
        raise ValueError(f"{captions} captions cannot be shared out among {images} images")
    state = encoder.read_prompts(prompts, features_PTD)
    first = state.last_hidden_PD.repeat_interleave(captions // images, dim=0)[:, None]
    rest = continue_captions(encoder, state, completion_ids_NL[:, :-1])
    return encoder.logits(torch.cat([first, rest], dim=1))


def continue_captions(
    encoder: Encoder,
    state: PromptState,
    ids_NL: Tensor,
    image_of_N: Sequence[int] | None = None,
) -> Tensor:
    """Read caption tokens after their image's prompt: hidden states (N, L, D).

    Uses up the state: its cache is widened to the N captions, which belong to the images in equal
    groups, or as `image_of_N` says.
    """
    if image_of_N is None:
        state.cache.batch_repeat_interleave(len(ids_NL) // len(state.last_hidden_PD))
    else:
        state.cache.batch_select_indices(torch.tensor(image_of_N, device=ids_NL.device))
    if ids_NL.shape[1] == 0:
        return state.last_hidden_PD.new_zeros(len(ids_NL), 0, encoder.width)
    return encoder.read_tokens(state.cache, ids_NL, state.next_position)


def decode_captions(encoder: Encoder, ids_NL: Tensor, mask_NL: Tensor) -> list[str]:
    """Return the texts, without the end of turn and without halves of characters."""
    rows = [row[real].tolist() for row, real in zip(ids_NL, mask_NL.bool(), strict=True)]
    texts: list[str] = encoder.tokenizer.batch_decode(rows, skip_special_tokens=True)
    return [text.replace("\N{REPLACEMENT CHARACTER}", "").strip() for text in texts]


def _sample(
    encoder: Encoder,
    state: PromptState,
    group_size: int,
    max_new_tokens: int,
    temperature: float,
    generator: torch.Generator | SharedLevels | None,
) -> tuple[Tensor, Tensor]:
    """Return tokens and log-probs (N, L); what stands after a caption's end means nothing."""
    state.cache.batch_repeat_interleave(group_size)
    hidden = state.last_hidden_PD.repeat_interleave(group_size, dim=0)
    ids = torch.zeros(len(hidden), max_new_tokens, dtype=torch.long, device=hidden.device)
    log_probs = torch.zeros(ids.shape, device=hidden.device)
    rows = torch.arange(len(hidden), device=hidden.device)  # captions that are still written
    going = torch.ones_like(rows, dtype=torch.bool)
    for step in range(max_new_tokens):
        all_log_probs = torch.log_softmax(encoder.logits(hidden) / (temperature or 1.0), dim=-1)
        if generator is None or temperature == 0:
            token = all_log_probs.argmax(dim=-1)
        else:
            token = _draw(all_log_probs, _levels(generator, rows, going))
        ids[rows, step] = token
        log_probs[rows, step] = all_log_probs.gather(-1, token[:, None]).squeeze(-1)
        going &= token != encoder.tokenizer.eos_token_id
        num_going = int(going.sum())
        if num_going == 0:
            return ids[:, : step + 1], log_probs[:, : step + 1]
        if num_going <= SHRINK_BELOW * len(rows):
            rows, token = rows[going], token[going]
            state.cache.batch_select_indices(going)
            going = going[going]
        if step + 1 < max_new_tokens:
            position = state.next_position + step
            hidden = encoder.read_tokens(state.cache, token[:, None], position)[:, 0]
    return ids, log_probs


def _levels(source: torch.Generator | SharedLevels, rows: Tensor, going: Tensor) -> Tensor:
    if not isinstance(source, torch.Generator):
        return source(rows, going)
    size = (len(rows), 1)
    return torch.rand(size, generator=source, device=source.device, dtype=torch.float64)


def _draw(log_probs_NV: Tensor, levels_N1: Tensor) -> Tensor:
    """Draw one token for each row by inverting the distribution function."""
    reached_NV = log_probs_NV.double().exp().cumsum(dim=-1)  # float64: the end must not round
    level = levels_N1.to(log_probs_NV.device)
    return torch.searchsorted(reached_NV, level * reached_NV[:, -1:], right=True).squeeze(-1)
