"""Guards: what a caption must not do to please the reconstruction reward.

Every penalty is at least 0, and 0 for a caption that does nothing wrong. N captions.
"""

from collections.abc import Sequence
from difflib import SequenceMatcher

import torch
from torch import Tensor

from uae.data.starter.attributes import quoted_texts
from uae.data.words import count_words, split_words

_PHRASE_WORDS = 4  # shorter phrases recur in honest captions: "at the top"


def length_penalty(captions: Sequence[str], *, base_words: float, max_ratio: float) -> Tensor:
    """Return by how much each caption exceeds max_ratio x base_words words, relative to that.

    Args:
        captions: N captions.
        base_words: Mean number of words of the base model's captions.
        max_ratio: How much longer is still free.

    Returns:
        Penalties (N,), from 0 without a limit: 1 for a caption twice as long as allowed.

    Raises:
        ValueError: If base_words or max_ratio is not above 0.
    """
    if base_words <= 0 or max_ratio <= 0:
        raise ValueError(f"bad length guard: {base_words=}, {max_ratio=}")
    limit = base_words * max_ratio
    return torch.tensor([max(0.0, count_words(caption) / limit - 1) for caption in captions])


def transcription_penalty(
    captions: Sequence[str], true_texts: Sequence[Sequence[str] | None]
) -> Tensor:
    """Return how wrong the quoted texts of each caption are.

    Quoted and true texts are paired, most similar first; the penalty is 1 minus twice the sum
    of the pairs' similarities over the number of texts on both sides. So a missing text, a
    misspelt one and an invented one all cost.

    Args:
        captions: N captions; a text in the picture stands in double quotes.
        true_texts: For each picture, the texts in it. None where that is unknown: no penalty.

    Returns:
        Penalties (N,) in [0, 1].

    Raises:
        ValueError: If there are not as many pictures as captions.
    """
    pairs = zip(captions, true_texts, strict=True)
    return torch.tensor([_transcription_error(caption, true) for caption, true in pairs])


def repetition_penalty(captions: Sequence[str]) -> Tensor:
    """Return the share of repeated words of each caption, (N,), in [0, 1)."""
    return torch.tensor([repetition(caption) for caption in captions])


def repetition(caption: str) -> float:
    """Return the share of words that repeat their predecessor or complete a phrase said before.

    A phrase is four words, which are characters in Chinese and Japanese (`uae.data.words`). 0 for a
    caption without words.
    """
    words = split_words(caption.lower())
    said: set[tuple[str, ...]] = set()
    num_repeated = 0
    for end in range(1, len(words) + 1):
        phrase = tuple(words[max(0, end - _PHRASE_WORDS) : end])
        num_repeated += phrase in said or words[end - 1 : end] == words[end - 2 : end - 1]
        if len(phrase) == _PHRASE_WORDS:
            said.add(phrase)
    return num_repeated / max(len(words), 1)


def _transcription_error(caption: str, true_texts: Sequence[str] | None) -> float:
    if true_texts is None:
        return 0.0
    quoted = quoted_texts(caption)
    if not quoted and not true_texts:
        return 0.0
    alike = sorted(
        ((_similarity(q, t), i, j) for i, q in enumerate(quoted) for j, t in enumerate(true_texts)),
        reverse=True,
    )
    similarity = 0.0
    used_quoted: set[int] = set()
    used_true: set[int] = set()
    for value, i, j in alike:
        if i not in used_quoted and j not in used_true:
            used_quoted.add(i)
            used_true.add(j)
            similarity += value
    return 1 - 2 * similarity / (len(quoted) + len(true_texts))


def _similarity(left: str, right: str) -> float:
    return SequenceMatcher(None, left, right, autojunk=False).ratio()
