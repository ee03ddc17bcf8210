"""How much of the truth a caption tells."""

import re

from uae.data.facts import ObjectFact, SceneFacts
from uae.data.starter.vocabulary import NUMBERS, PLURALS


def quoted_texts(caption: str) -> list[str]:
    """Return what stands inside double quotes, straight or curly."""
    return [text.strip() for text in re.findall(r'["“”]([^"“”]*)["“”]', caption)]


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
    (between commas) that names the object's class, and each clause serves as many objects as it
    counts ("two cats"). Background and word count one each.
    """
    clauses = [clause.strip() for clause in caption.lower().split(",")]
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
    told += any(
        re.search(rf"\b{re.escape(facts.background)} background\b", clause) for clause in clauses
    )
    if facts.word is not None:
        told += facts.word in quoted_texts(caption)
    return told / (4 * len(facts.objects) + 1 + (facts.word is not None))


def _count_in(clause: str) -> int:
    for number, word in NUMBERS.items():
        if re.search(rf"\b{word}\b", clause):
            return number
    return 1


def _matches(thing: ObjectFact, clause: str) -> int:
    plural = PLURALS.get(thing.name, f"{thing.name}s")  # facts may name classes of their own
    names = rf"\b({re.escape(thing.name)}|{re.escape(plural)})\b"
    if not re.search(names, clause):
        return 0
    others = (thing.color, thing.size, thing.place)
    return 1 + sum(bool(re.search(rf"\b{re.escape(word)}\b", clause)) for word in others)
