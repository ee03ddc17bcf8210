"""Captions of a scene, from terse, as on the web, to complete."""

import random
from collections.abc import Sequence

from uae.data.facts import ObjectFact, SceneFacts
from uae.data.starter.vocabulary import NUMBERS, PLURALS

# Chances that a terse caption mentions a thing. Well under one half: decoded greedily, a model
# trained on them says little, though it has seen everything.
OBJECT_CHANCE = 0.75
COLOR_CHANCE = 0.35
SIZE_CHANCE = 0.2
PLACE_CHANCE = 0.2
BACKGROUND_CHANCE = 0.2
WORD_CHANCE = 0.35
PARTIAL_CHANCE = 0.4  # that a partial caption says, of all objects at once, their colour, say


def complete_caption(facts: SceneFacts, rng: random.Random | None = None) -> str:
    """Say everything. With `rng` the objects come in random order, else in reading order."""
    objects = list(facts.objects)
    if rng is not None:
        rng.shuffle(objects)
    phrases = [_object_phrase(o, color=True, size=True, place=True) for o in objects]
    return _join(phrases, facts.word, facts.background)


def terse_caption(facts: SceneFacts, rng: random.Random) -> str:
    """Say what a hurried person would: some of the objects, few of their attributes."""
    objects = [o for o in facts.objects if rng.random() < OBJECT_CHANCE]
    objects = objects or [rng.choice(facts.objects)]
    rng.shuffle(objects)
    word = facts.word if rng.random() < WORD_CHANCE else None
    background = facts.background if rng.random() < BACKGROUND_CHANCE else None
    if len(objects) > 1 and len({o.name for o in objects}) == 1 and rng.random() < 0.7:
        return _join([_counted(objects, rng)], word, background)
    phrases = [
        _object_phrase(
            o,
            color=rng.random() < COLOR_CHANCE,
            size=rng.random() < SIZE_CHANCE,
            place=rng.random() < PLACE_CHANCE,
        )
        for o in objects
    ]
    return _join(phrases, word, background)


def partial_caption(facts: SceneFacts, rng: random.Random) -> str:
    """Name every object, and of colour, size and place what one asked for: all of it or none."""
    objects = rng.sample(facts.objects, len(facts.objects))
    word = facts.word if rng.random() < PARTIAL_CHANCE else None
    background = facts.background if rng.random() < PARTIAL_CHANCE else None
    color, size, place = (rng.random() < PARTIAL_CHANCE for _ in range(3))
    alike = len(objects) > 1 and len({o.name for o in objects}) == 1
    if alike and not (color or size or place):
        return _join([_counted(objects, rng)], word, background)
    phrases = [_object_phrase(o, color=color, size=size, place=place) for o in objects]
    return _join(phrases, word, background)


def _object_phrase(thing: ObjectFact, *, color: bool, size: bool, place: bool) -> str:
    words = [thing.size] * size + [thing.color] * color + [thing.name]
    article = "an" if words[0][0] in "aeiou" else "a"
    where = f" {_where(thing.place)}" if place else ""
    return f"{article} {' '.join(words)}{where}"


def _where(place: str) -> str:
    return "in the center" if place == "center" else f"at the {place}"


def _counted(objects: Sequence[ObjectFact], rng: random.Random) -> str:
    colors = {o.color for o in objects}
    color = f"{colors.pop()} " if len(colors) == 1 and rng.random() < 0.5 else ""
    return f"{NUMBERS[len(objects)]} {color}{PLURALS[objects[0].name]}"


def _join(phrases: list[str], word: str | None, background: str | None) -> str:
    parts = list(phrases)
    if word is not None:
        parts.append(f'the word "{word}"')
    if background is not None:
        parts.append(f"on a {background} background")
    return ", ".join(parts)
