"""Claims about a scene, each with its yes/no question; true and false ones from the facts.

DPG-Bench's questions, the judge's training and its self-test are all made of these. "Is there a
red cat?" rather than "Is the cat red?": a question stays well posed when a scene holds two cats.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from uae.data.facts import SceneFacts
from uae.data.starter.vocabulary import (
    BACKGROUNDS,
    CLASSES,
    COLORS,
    NUMBERS,
    PLACES,
    PLURALS,
    SIZES,
    WORDS,
)

Kind = Literal["entity", "count", "color", "size", "place", "background", "word"]
CATEGORIES: dict[Kind, str] = {  # DPG-Bench's level 2; level 1 stands before the dash
    "entity": "entity - whole",
    "count": "other - count",
    "color": "attribute - color",
    "size": "attribute - size",
    "place": "relation - spatial",
    "background": "global - background",
    "word": "other - text",
}
VALUES: dict[Kind, Sequence[str]] = {
    "entity": CLASSES,
    "count": tuple(NUMBERS.values()),
    "color": tuple(COLORS),
    "size": tuple(SIZES),
    "place": tuple(PLACES),
    "background": tuple(BACKGROUNDS),
    "word": WORDS,
}


@dataclass(frozen=True)
class Claim:
    """One statement; `name` is the class it is about, "" for the whole picture."""

    kind: Kind
    value: str
    name: str = ""

    @property
    def question(self) -> str:
        """The claim as a yes/no question."""
        if self.kind == "entity":
            return f"Is there {_article(self.value)}?"
        if self.kind == "count":
            return f"Are there {self.value} {PLURALS[self.name]}?"
        if self.kind == "background":
            return f"Is the background {self.value}?"
        if self.kind == "word":
            return f'Is the word "{self.value}" written?'
        if self.kind == "place":
            where = "in the center" if self.value == "center" else f"at the {self.value}"
            return f"Is there {_article(self.name)} {where}?"
        return f"Is there {_article(f'{self.value} {self.name}')}?"

    @property
    def label(self) -> str:
        """The claim as DPG-Bench writes its tuples, such as `attribute - color (cat, red)`."""
        about = f"{self.name}, {self.value}" if self.name else self.value
        return f"{CATEGORIES[self.kind]} ({about})"

    def holds(self, facts: SceneFacts) -> bool:
        """Return whether the claim is true of a scene."""
        if self.kind == "background":
            return facts.background == self.value
        if self.kind == "word":
            return facts.word == self.value
        if self.kind == "entity":
            return any(thing.name == self.value for thing in facts.objects)
        same = [thing for thing in facts.objects if thing.name == self.name]
        if self.kind == "count":
            return NUMBERS.get(len(same)) == self.value
        return any(getattr(thing, self.kind) == self.value for thing in same)


def true_claims(facts: SceneFacts) -> list[Claim]:
    """Return everything that can be asked about a scene and is true, each once.

    A class's entity claim comes before the claims about objects of that class.
    """
    claims: list[Claim] = []
    for thing in facts.objects:
        claims.append(Claim("entity", thing.name))
        number = NUMBERS.get(sum(other.name == thing.name for other in facts.objects))
        if number is not None:
            claims.append(Claim("count", number, thing.name))
        claims.append(Claim("color", thing.color, thing.name))
        claims.append(Claim("size", thing.size, thing.name))
        claims.append(Claim("place", thing.place, thing.name))
    claims.append(Claim("background", facts.background))
    if facts.word is not None:
        claims.append(Claim("word", facts.word))
    return list(dict.fromkeys(claims))


def false_claims(facts: SceneFacts, rng: random.Random) -> list[Claim]:
    """Return, for each true claim that has one, the same claim with a value that makes it false."""
    claims = []
    for claim in true_claims(facts):
        others = [Claim(claim.kind, value, claim.name) for value in VALUES[claim.kind]]
        wrong = [other for other in others if not other.holds(facts)]
        if wrong:
            claims.append(rng.choice(wrong))
    return list(dict.fromkeys(claims))


def _article(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"
