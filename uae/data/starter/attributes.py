"""How much of the truth a caption tells."""

import re
from collections.abc import Collection, Iterable

from uae.data.facts import ObjectFact, SceneFacts
from uae.data.starter.vocabulary import (
    BACKGROUNDS,
    CLASSES,
    COLORS,
    NUMBERS,
    PLACES,
    PLURALS,
    SIZES,
)

BOUND = (("color", tuple(COLORS)), ("size", tuple(SIZES)), ("place", tuple(PLACES)))
_QUOTED = re.compile(r'["“”]([^"“”]*)["“”]')


def quoted_texts(caption: str) -> list[str]:
    """Return what stands inside double quotes, straight or curly."""
    return [text.strip() for text in _QUOTED.findall(caption)]


def text_fidelity(caption: str, facts: SceneFacts) -> float | None:
    """Return 1 if the caption quotes the scene's word and nothing else, 0 if not.

    None where the scene has no word: nothing is to be transcribed.
    """
    if facts.word is None:
        return None
    return float(quoted_texts(caption) == [facts.word])


def attribute_recall(caption: str, facts: SceneFacts) -> float:
    """Return the share of true attributes that the caption mentions, bound to their object.

    An object has four attributes: class, colour, size, place. A colour counts only in a clause
    (between commas) that names the object's class and no other colour, and each clause serves as
    many objects as it counts ("two cats"). Background and word count one each.
    """
    return _num_told(caption, facts) / (4 * len(facts.objects) + 1 + (facts.word is not None))


def attribute_precision(caption: str, facts: SceneFacts) -> float | None:
    """Return the share of stated attributes that are true; None where none is stated.

    What counts as stated: every class, colour, size and place of the domain, or of these facts,
    in a clause, as often as the clause counts; every background; every quoted text.
    """
    stated = len(quoted_texts(caption))
    values = [
        _known(CLASSES, (thing.name for thing in facts.objects)),
        *(_known(found, (getattr(o, name) for o in facts.objects)) for name, found in BOUND),
    ]
    for clause in _clauses(caption):
        stated += sum(_says(clause, f"{b} background") for b in {*BACKGROUNDS, facts.background})
        stated += _count_in(clause) * sum(len(_named(clause, known)) for known in values)
    return _num_told(caption, facts) / stated if stated else None


def _num_told(caption: str, facts: SceneFacts) -> int:
    clauses = _clauses(caption)
    room = [_count_in(clause) for clause in clauses]
    told = 0
    pairs = sorted(
        ((_matches(thing, clause), o, c)
         for o, thing in enumerate(facts.objects) for c, clause in enumerate(clauses)),
        key=lambda pair: -pair[0],
    )  # fmt: skip
    done: set[int] = set()
    for matches, o, c in pairs:
        if matches and o not in done and room[c]:
            done.add(o)
            room[c] -= 1
            told += matches
    told += any(_says(clause, f"{facts.background} background") for clause in clauses)
    if facts.word is not None:
        told += facts.word in quoted_texts(caption)
    return told


def _clauses(caption: str) -> list[str]:
    """Return what stands between commas, without quoted texts: the word "KEY" is no key."""
    unquoted = _QUOTED.sub(" ", caption.lower())
    return [clause.strip() for clause in unquoted.split(",")]


def _count_in(clause: str) -> int:
    for number, word in NUMBERS.items():
        if _says(clause, word):
            return number
    return 1


def _matches(thing: ObjectFact, clause: str) -> int:
    if not _named(clause, {thing.name}):
        return 0
    own = ((known, getattr(thing, name)) for name, known in BOUND)
    return 1 + sum(_named(clause, _known(known, [value])) == {value} for known, value in own)


def _named(clause: str, values: Collection[str]) -> set[str]:
    """Return those values that the clause says, in the singular or in the plural."""
    return {
        value
        for value in values
        if _says(clause, value) or _says(clause, PLURALS.get(value, f"{value}s"))
    }


def _says(clause: str, words: str) -> bool:
    return re.search(rf"\b{re.escape(words)}\b", clause) is not None


def _known(domain: Iterable[str], own: Iterable[str]) -> set[str]:
    """Return the domain's values and those of the facts, which may have their own."""
    return {*domain, *own}
