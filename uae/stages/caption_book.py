"""Captions of many pictures, written by a model that stays as it is.

They are written once, for all pictures of a stage, or where samples are streamed for those of an
update when it comes: by the encoder as it was at the start of the stage, and where they are
sampled from draws of their own, so that a picture's caption is the same whenever it comes.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from uae.data.dataset import Samples
from uae.data.words import count_words
from uae.models.captioning import (
    SharedLevels,
    WrittenCaptions,
    decode_captions,
    write_captions,
)
from uae.models.encoder import Encoder
from uae.stages.setting import Setting, chunks


class Captioned(Protocol):
    """A caption for each of some samples."""

    def of(self, indices: Sequence[int]) -> WrittenCaptions:
        """Return the captions of these samples, in this order."""


class CaptionBook:
    """One caption for each of some samples, as tokens and as text."""

    def __init__(
        self, encoder: Encoder, indices: Sequence[int], pages: Sequence[Sequence[Tensor]]
    ) -> None:
        """Bind pages of tokens, mask and log-probs, (N, L) each."""
        self._place = {index: place for place, index in enumerate(indices)}
        length = max((page[0].shape[1] for page in pages), default=0)
        self._ids, self._mask, self._log_probs = (
            _joined([page[column] for page in pages], length) for column in range(3)
        )
        self._texts = decode_captions(encoder, self._ids, self._mask) if pages else []

    def of(self, indices: Sequence[int]) -> WrittenCaptions:
        """Return the captions of these samples, in this order."""
        rows = [self._place[index] for index in indices]
        texts = [self._texts[row] for row in rows]
        return WrittenCaptions(self._ids[rows], self._mask[rows], self._log_probs[rows], texts)

    def mean_words(self) -> float:
        """Return the mean number of words."""
        return sum(map(count_words, self._texts)) / max(len(self._texts), 1)


def some_captions(captions: WrittenCaptions, rows: slice) -> WrittenCaptions:
    """Return some of several captions."""
    ids, mask, log_probs, texts = captions
    return WrittenCaptions(ids[rows], mask[rows], log_probs[rows], texts[rows])


def write_book(
    setting: Setting,
    dataset: Samples,
    indices: Sequence[int],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    name: str = "book",
) -> CaptionBook:
    """Let the model caption pictures, with its adapters as they are now.

    Args:
        setting: Its encoder writes.
        dataset: Where the pictures are.
        indices: Which pictures.
        max_new_tokens: Longer captions are cut.
        temperature: 0 is greedy.
        name: Of the draw, when the temperature is above 0.
    """

    def write(page: tuple[int, list[int]]) -> tuple[Tensor, ...]:
        number, chunk = page
        generator = setting.generator(name, number) if temperature > 0 else None
        return _page(setting, dataset, chunk, max_new_tokens, temperature, generator)

    with setting.shards.gathered():
        pages = list(setting.share.world.in_turns(list(enumerate(chunks(indices))), write))
    return CaptionBook(setting.model.encoder, indices, pages)


def captions_of(
    setting: Setting, dataset: Samples, indices: Sequence[int] | None, *, max_new_tokens: int
) -> Captioned:
    """Return the greedy captions of the starting encoder; to be called before it is trained.

    Where `indices` is None, they are written when they are asked for.
    """
    if indices is None:
        return _LateCaptions(setting, dataset, max_new_tokens)
    return write_book(setting, dataset, indices, max_new_tokens=max_new_tokens)


def write_captions_of(
    setting: Setting,
    dataset: Samples,
    indices: Sequence[int],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    names: Sequence[str] = (),
) -> WrittenCaptions:
    """Let the encoder, as it was at the start of the stage, caption this process's pictures.

    Args:
        setting: Its encoder writes, without the stage's own adapter.
        dataset: Where the pictures are.
        indices: Which pictures.
        max_new_tokens: Longer captions are cut.
        temperature: 0 is greedy.
        names: Of the draws, one for each picture, when the temperature is above 0. A caption
            depends on its name and its picture's id.
    """
    encoder, pages = setting.model.encoder, []
    with _at_start(setting), setting.shards.gathered():
        for places in chunks(range(len(indices))):
            chunk = [indices[place] for place in places]
            draws = None
            if temperature > 0:
                named = [(names[place], dataset[indices[place]].image_id) for place in places]
                draws = _OwnDraws([setting.generator(*name) for name in named])
            pages.append(_page(setting, dataset, chunk, max_new_tokens, temperature, draws))
    every = range(len(indices))  # places: a sample that stands in for another stands twice
    return CaptionBook(encoder, every, pages).of(every)


class _LateCaptions:
    """Greedy captions, written when they are asked for, and not kept."""

    def __init__(self, setting: Setting, dataset: Samples, max_new_tokens: int) -> None:
        self._setting, self._dataset = setting, dataset
        self._max_new_tokens = max_new_tokens

    def of(self, indices: Sequence[int]) -> WrittenCaptions:
        """See `Captioned`."""
        limit = self._max_new_tokens
        return write_captions_of(self._setting, self._dataset, indices, max_new_tokens=limit)


class _OwnDraws:
    """Draws of each caption's own. See `SharedLevels`."""

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        self._generators = generators

    def __call__(self, rows: Tensor, going: Tensor) -> Tensor:
        del going
        drawn = [
            torch.rand(1, generator=self._generators[row], dtype=torch.float64)
            for row in rows.tolist()
        ]
        return torch.stack(drawn)


def _at_start(setting: Setting) -> AbstractContextManager[None]:
    """Switch the stage's own adapter off, if the encoder has it by now."""
    encoder = setting.model.encoder
    trained = setting.stage in encoder.adapters
    return encoder.disabled(setting.stage) if trained else nullcontext()


def _page(
    setting: Setting,
    dataset: Samples,
    chunk: list[int],
    max_new_tokens: int,
    temperature: float,
    draws: torch.Generator | SharedLevels | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return tokens, mask and log-probs (N, L) of pictures that are captioned together."""
    encoder = setting.model.encoder
    prompts = encoder.caption_prompt(setting.images(dataset, chunk))
    with torch.no_grad():
        features = encoder.image_features(prompts)
    written = write_captions(
        encoder,
        prompts,
        features,
        group_size=1,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        generator=draws,
    )
    return written.completion_ids_NL, written.mask_NL, written.log_probs_NL


def _joined(parts: Sequence[Tensor], length: int) -> Tensor:
    if not parts:
        return torch.empty(0)
    return torch.cat([pad(part, (0, length - part.shape[1])) for part in parts])
