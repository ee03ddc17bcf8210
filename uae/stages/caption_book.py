"""Captions of many pictures, written once by a model that stays as it is."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from uae.data.dataset import Dataset
from uae.data.words import count_words
from uae.models.captioning import WrittenCaptions, decode_captions, write_captions
from uae.models.encoder import Encoder
from uae.stages.setting import Rows, Setting, chunks


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


def write_book(
    setting: Setting,
    dataset: Dataset,
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
    encoder = setting.model.encoder

    def write(page: tuple[int, list[int]]) -> tuple[Tensor, ...]:
        number, chunk = page
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
            generator=setting.generator(name, number) if temperature > 0 else None,
        )
        return written.completion_ids_NL, written.mask_NL, written.log_probs_NL

    with setting.shards.gathered():
        pages = list(setting.share.world.in_turns(list(enumerate(chunks(indices))), write))
    return CaptionBook(encoder, indices, pages)


def conditions_of(
    setting: Setting, dataset: Dataset, indices: Sequence[int], book: CaptionBook
) -> Rows:
    """Compute the decoder's condition for each caption of a book, (B, T, D) rows."""

    def compute(chunk: list[int]) -> tuple[Tensor]:
        return (setting.model.condition(book.of(chunk), setting.images(dataset, chunk)),)

    return setting.rows(dataset, indices, compute)


def _joined(parts: Sequence[Tensor], length: int) -> Tensor:
    if not parts:
        return torch.empty(0)
    return torch.cat([pad(part, (0, length - part.shape[1])) for part in parts])
