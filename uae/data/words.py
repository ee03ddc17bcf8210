"""What a word is, wherever words are counted or compared: data checks, guards, metrics, reports."""

import re

# Hiragana, Katakana (half-width too), Han characters and the marks that repeat or stand for one.
_UNSPACED = (
    "\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U000323af"
)
_HAS_UNSPACED = re.compile(f"[{_UNSPACED}]")
_PART = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")


def split_words(text: str) -> list[str]:
    """Return the words of a text, in order.

    A word is what stands between white space, punctuation and all, as in `str.split()`. Chinese
    and Japanese are written without spaces: where there are such characters between two spaces,
    each of them is a word, each run of other letters and digits is one, and punctuation is none.
    A run of another script without spaces, Thai for example, counts as one.

    Example:
        >>> split_words("a red  cat."), split_words("两只cat。")
        (['a', 'red', 'cat.'], ['两', '只', 'cat'])
    """
    words: list[str] = []
    for piece in text.split():
        words += _PART.findall(piece) if _HAS_UNSPACED.search(piece) else [piece]
    return words


def count_words(text: str) -> int:
    """Return the number of words; each Chinese or Japanese character is one."""
    return len(split_words(text))
