"""Scenes that differ from a given one in known attributes: near misses, and a ruler."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from uae.data.facts import ObjectFact, SceneFacts
from uae.data.starter.scenes import place_object
from uae.data.starter.vocabulary import BACKGROUNDS, CLASSES, COLORS, CORNERS, SIZES, WORDS

OBJECT_ATTRIBUTES = ("name", "color", "size", "place")
KINDS = (*OBJECT_ATTRIBUTES, "count", "swap", "background", "word")


def redraw(facts: SceneFacts, rng: random.Random) -> SceneFacts:
    """Return the same composition with every object's jitter drawn again."""
    return replace(facts, objects=tuple(_placed(rng, thing) for thing in facts.objects))


def change_one(facts: SceneFacts, kind: str, rng: random.Random) -> SceneFacts:
    """Return the scene with one change of a kind in `KINDS`; other objects stay as they are.

    "swap" exchanges the colours of two objects. Where a kind is impossible (moving within a full
    scene, swapping equal colours, a word where there is none), a colour changes instead.
    """
    if kind == "background":
        return replace(facts, background=_other(rng, BACKGROUNDS, facts.background))
    if kind == "word" and facts.word is not None:
        return replace(facts, word=_other(rng, WORDS, facts.word))
    if kind == "count":
        return _other_count(facts, rng)
    if kind == "swap":
        swapped = _swapped_colors(facts, rng)
        if swapped is not None:
            return swapped
    index = rng.randrange(len(facts.objects))
    if kind in ("name", "size", "place"):
        changed = _change_object(facts, index, kind, rng)
        if changed is not None:
            return changed
    changed = _change_object(facts, index, "color", rng)
    assert changed is not None
    return changed


def change_attributes(facts: SceneFacts, num_changes: int, rng: random.Random) -> SceneFacts:
    """Return the scene with that many different attributes changed, jitter drawn again.

    Attributes are class, colour and size of each object, and the background.

    Raises:
        ValueError: If the scene has fewer attributes.
    """
    slots = [(o, kind) for o in range(len(facts.objects)) for kind in OBJECT_ATTRIBUTES[:3]]
    slots.append((-1, "background"))
    for index, kind in rng.sample(slots, num_changes):
        if index < 0:
            facts = change_one(facts, kind, rng)
        else:
            facts = _change_object(facts, index, kind, rng) or facts
    return redraw(facts, rng)


def _change_object(
    facts: SceneFacts, index: int, kind: str, rng: random.Random
) -> SceneFacts | None:
    thing = facts.objects[index]
    if kind == "place":
        free = _free_corners(facts)
        if not free:
            return None
        return _with_object(facts, index, replace(thing, place=rng.choice(free)), rng)
    choices: dict[str, Iterable[str]] = {"name": CLASSES, "color": COLORS, "size": SIZES}
    values: dict[str, Any] = {kind: _other(rng, choices[kind], getattr(thing, kind))}
    return _with_object(facts, index, replace(thing, **values), rng)


def _other_count(facts: SceneFacts, rng: random.Random) -> SceneFacts:
    free = _free_corners(facts)
    centered = facts.objects[0].place == "center"
    if len(facts.objects) > 1 and (not free or rng.random() < 0.5):
        gone = rng.randrange(len(facts.objects))
        return replace(facts, objects=facts.objects[:gone] + facts.objects[gone + 1 :])
    model = rng.choice(facts.objects)
    if centered:
        moved = place_object(rng, model.name, model.color, model.size, CORNERS[0])
        return replace(facts, objects=(moved,))
    name = model.name if rng.random() < 0.5 else rng.choice(CLASSES)
    color, size = rng.choice(list(COLORS)), rng.choice(list(SIZES))
    added = place_object(rng, name, color, size, rng.choice(free))
    return replace(facts, objects=_in_reading_order((*facts.objects, added)))


def _swapped_colors(facts: SceneFacts, rng: random.Random) -> SceneFacts | None:
    pairs = [
        (i, j)
        for j in range(len(facts.objects))
        for i in range(j)
        if facts.objects[i].color != facts.objects[j].color
        and facts.objects[i].name != facts.objects[j].name
    ]
    if not pairs:
        return None
    i, j = rng.choice(pairs)
    first, second = facts.objects[i], facts.objects[j]
    facts = _with_object(facts, i, replace(first, color=second.color), rng)
    return _with_object(facts, j, replace(second, color=first.color), rng)


def _with_object(
    facts: SceneFacts, index: int, thing: ObjectFact, rng: random.Random
) -> SceneFacts:
    objects = list(facts.objects)
    objects[index] = _placed(rng, thing)
    return replace(facts, objects=_in_reading_order(objects))


def _placed(rng: random.Random, thing: ObjectFact) -> ObjectFact:
    return place_object(rng, thing.name, thing.color, thing.size, thing.place)


def _in_reading_order(objects: Sequence[ObjectFact]) -> tuple[ObjectFact, ...]:
    order = (*CORNERS, "center")
    return tuple(sorted(objects, key=lambda thing: order.index(thing.place)))


def _free_corners(facts: SceneFacts) -> list[str]:
    corners = CORNERS[:2] if facts.word is not None else CORNERS
    taken = {thing.place for thing in facts.objects}
    return [] if "center" in taken else [corner for corner in corners if corner not in taken]


def _other(rng: random.Random, choices: Iterable[str], value: str) -> str:
    return rng.choice([choice for choice in choices if choice != value])
