"""How well words that were read agree with words that were asked for.

Texts are compared as bags of words: in which order lines of a picture are read says nothing. Case,
and punctuation at a word's ends, do not count; a Chinese or Japanese character is a word
(`uae.data.words`).
"""

import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from uae.data.words import split_words


def fold_words(texts: Sequence[str]) -> list[str]:
    """Return the words of texts as they are compared; what has no letter or digit is no word."""
    words = [
        word
        for text in texts
        for word in split_words(unicodedata.normalize("NFKC", text).casefold())
    ]
    return [stripped for word in words if (stripped := _strip(word))]


def word_accuracy(asked: Sequence[str], read: Sequence[str]) -> float:
    """Return the share of the asked words that were read; each read word serves once.

    Raises:
        ValueError: If no word is asked for.
    """
    wanted, found = Counter(_asked_words(asked)), Counter(fold_words(read))
    return (wanted & found).total() / wanted.total()


def same_words(asked: Sequence[str], read: Sequence[str]) -> bool:
    """Return whether exactly the asked words were read, each as often, and nothing else."""
    return Counter(_asked_words(asked)) == Counter(fold_words(read))


def edit_similarity(asked: Sequence[str], read: Sequence[str]) -> float:
    """Return how alike asked and read words are: 1 - Levenshtein distance / longer length.

    Words are paired so that the sum is largest; the mean is over the asked words, and one without a
    partner counts 0.

    Raises:
        ValueError: If no word is asked for.
    """
    wanted, found = _asked_words(asked), fold_words(read)
    alike = np.array([[_similarity(a, b) for b in found] for a in wanted]).reshape(
        len(wanted), len(found)
    )
    rows, columns = linear_sum_assignment(alike, maximize=True)
    return float(alike[rows, columns].sum()) / len(wanted)


def _asked_words(asked: Sequence[str]) -> list[str]:
    words = fold_words(asked)
    if not words:
        raise ValueError(f"no word is asked for: {asked!r}")
    return words


def _strip(word: str) -> str:
    start, end = 0, len(word)
    while start < end and not word[start].isalnum():
        start += 1
    while end > start and not word[end - 1].isalnum():
        end -= 1
    return word[start:end]


def _similarity(a: str, b: str) -> float:
    return 1 - _distance(a, b) / max(len(a), len(b))


def _distance(a: str, b: str) -> int:
    """Return the Levenshtein distance: insertions, deletions and substitutions cost 1."""
    above = list(range(len(b) + 1))
    for i, one in enumerate(a, start=1):
        row = [i]
        for j, other in enumerate(b, start=1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (one != other)))
        above = row
    return above[-1]
