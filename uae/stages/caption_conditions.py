"""The decoder's conditions from captions of pictures, by models that stay as they are.

They are computed once, for all pictures of a stage, or where samples are streamed for those of an
update when it comes. One greedy caption of each picture is written, or several that are sampled.

Shape letters: P pictures, T condition tokens, D width.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from uae.data.dataset import Samples
from uae.models.captioning import WrittenCaptions
from uae.recipe import UnderstandingForGenerationRecipe
from uae.stages.caption_book import CaptionBook, some_captions, write_book, write_captions_of
from uae.stages.setting import Rows, Setting, chunks


class Conditions(Protocol):
    """Conditions from one or more captions of each of some pictures."""

    def of(self, indices: Sequence[int], chosen: Sequence[int]) -> Tensor:
        """Return (P, T, D): for each picture the condition from its caption number `chosen`."""


def count_captions(section: UnderstandingForGenerationRecipe) -> int:
    """Return how many captions there are of a picture."""
    return 1 if section.captions == "greedy" else section.captions.group_size


def conditions_of(setting: Setting, dataset: Samples, indices: Sequence[int] | None) -> Conditions:
    """Return the conditions from captions of some pictures, written as the recipe of UfG says.

    Where `indices` is None, they are computed when they are asked for.
    """
    if indices is None:
        return _LateConditions(setting, dataset)
    return _KeptConditions(setting, dataset, indices)


class _KeptConditions:
    """Those of all captions, computed once."""

    def __init__(self, setting: Setting, dataset: Samples, indices: Sequence[int]) -> None:
        section = setting.recipe.understanding_for_generation
        self._setting, self._dataset = setting, dataset
        self._rows: list[Rows] = []
        for number in range(count_captions(section)):
            book = self._write(section, indices, number)
            self._rows.append(self._compute(indices, book))

    def of(self, indices: Sequence[int], chosen: Sequence[int]) -> Tensor:
        """See `Conditions`."""
        rows = [self._rows[c].of([i])[0] for c, i in zip(chosen, indices, strict=True)]
        return torch.cat(rows)

    def _write(
        self, section: UnderstandingForGenerationRecipe, indices: Sequence[int], number: int
    ) -> CaptionBook:
        setting, dataset, how = self._setting, self._dataset, section.captions
        if how == "greedy":
            return write_book(setting, dataset, indices, max_new_tokens=section.max_new_tokens)
        return write_book(
            setting,
            dataset,
            indices,
            max_new_tokens=how.max_new_tokens,
            temperature=how.temperature,
            name=f"book-{number}",
        )

    def _compute(self, indices: Sequence[int], book: CaptionBook) -> Rows:
        setting, dataset = self._setting, self._dataset

        def compute(chunk: list[int]) -> tuple[Tensor]:
            return (setting.model.condition(book.of(chunk), setting.images(dataset, chunk)),)

        return setting.rows(dataset, indices, compute)


class _LateConditions:
    """Those of the captions that are asked for; only these are written."""

    def __init__(self, setting: Setting, dataset: Samples) -> None:
        self._setting, self._dataset = setting, dataset

    def of(self, indices: Sequence[int], chosen: Sequence[int]) -> Tensor:
        """See `Conditions`."""
        setting, dataset = self._setting, self._dataset
        written = self._write(indices, chosen)
        parts = []
        with torch.no_grad(), setting.shards.gathered():
            for places in chunks(range(len(indices))):
                rows = slice(places[0], places[-1] + 1)
                images = setting.images(dataset, indices[rows])
                parts.append(setting.model.condition(some_captions(written, rows), images))
        return torch.cat(parts)

    def _write(self, indices: Sequence[int], chosen: Sequence[int]) -> WrittenCaptions:
        section = self._setting.recipe.understanding_for_generation
        how = section.captions
        if how == "greedy":
            limit = section.max_new_tokens
            return write_captions_of(self._setting, self._dataset, indices, max_new_tokens=limit)
        return write_captions_of(
            self._setting,
            self._dataset,
            indices,
            max_new_tokens=how.max_new_tokens,
            temperature=how.temperature,
            names=[f"book-{number}" for number in chosen],
        )
