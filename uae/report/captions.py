"""Marks what a caption says that the caption before it did not."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import groupby
from typing import Literal, NamedTuple

from uae.data.facts import SceneFacts

Kind = Literal["old", "new", "true"]
WORD = re.compile(r"\w+")
LITTLE_WORDS = frozenset(
    {"a", "an", "and", "are", "as", "at", "by", "for", "from", "in", "is", "it", "its", "of", "on"}
    | {"or", "s", "that", "the", "there", "this", "to", "with"}
)


class Piece(NamedTuple):
    """A run of a caption: said before, newly said, or newly said and known to be true."""

    text: str
    kind: Kind


def mark_new_words(caption: str, before: str | None, facts: SceneFacts | None) -> list[Piece]:
    """Split a caption by what is new in it.

    A word is new if it stands in the caption more often than before; little words join the run
    that they stand in. It counts as true if it is one of the scene's own words: whether it is
    said of the right object is measured by attribute recall, not here.

    Args:
        caption: The caption to mark.
        before: The caption of the stage before; None marks nothing.
        facts: The scene's truth, where known.
    """
    if before is None:
        return [Piece(caption, "old")]
    room = _counts(before)
    truth = true_words(facts) if facts else frozenset()
    pieces: list[Piece] = []
    position = 0
    for match in WORD.finditer(caption):
        word = match.group().lower()
        room[word] = room.get(word, 0) - 1
        new = room[word] < 0 and word not in LITTLE_WORDS
        kind: Kind = "old" if not new else "true" if word in truth else "new"
        pieces += [Piece(caption[position : match.start()], "old"), Piece(match.group(), kind)]
        position = match.end()
    pieces.append(Piece(caption[position:], "old"))
    return _joined(pieces)


def true_words(facts: SceneFacts) -> frozenset[str]:
    """Return every word of a scene's truth in lower case, plural classes included."""
    texts = [facts.background, "background", facts.word or ""]
    for thing in facts.objects:
        texts += [
            thing.name,
            thing.name + "s",
            thing.name + "es",
            thing.color,
            thing.size,
            thing.place,
        ]
    return frozenset(word for text in texts for word in WORD.findall(text.lower()))


def _counts(text: str) -> dict[str, int]:
    words = WORD.findall(text.lower())
    return {word: words.count(word) for word in words}


def _joined(pieces: Iterable[Piece]) -> list[Piece]:
    """Join neighbours of one kind, and two marked runs that only a blank separates."""
    kept = [piece for piece in pieces if piece.text]
    for index in range(1, len(kept) - 1):
        left, gap, right = kept[index - 1 : index + 2]
        if gap.text == " " and left.kind == right.kind:
            kept[index] = Piece(" ", left.kind)
    runs = groupby(kept, key=lambda piece: piece.kind)
    return [Piece("".join(piece.text for piece in run), kind) for kind, run in runs]
