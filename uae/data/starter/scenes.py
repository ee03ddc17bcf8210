"""Scenes: drawn at random within the domain, and painted from their facts alone."""

import hashlib
import random
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from uae.data.facts import ObjectFact, SceneFacts
from uae.data.starter.artwork import sprite
from uae.data.starter.vocabulary import (
    BACKGROUNDS,
    CLASSES,
    COLORS,
    CORNERS,
    IMAGE_SIZE,
    PLACES,
    SIZES,
    WORDS,
)

JITTER_PIXELS = 2
WORD_SHARE = 0.2  # of scenes that carry a word; its objects stand in the top corners
SAME_CLASS_SHARE = 0.2  # of scenes with several objects, all of one class
CENTER_SHARE = 0.2  # of scenes with one object
WORD_FONT_PIXELS = 22

Split = Literal["train", "heldout", "benchmark"]


def sample_facts(
    rng: random.Random, max_objects: int = 4, split: Split | None = None
) -> SceneFacts:
    """Draw a scene; with a split, only compositions that belong to it."""
    while True:
        facts = _draw_facts(rng, max_objects)
        if split is None or composition_split(facts) == split:
            return facts


def composition_split(facts: SceneFacts) -> Split:
    """Return the one split that this composition may stand in.

    A composition is everything but the jitter. A tenth each is held out for judging and for
    the benchmarks, so that no judged scene was ever trained on.
    """
    parts = sorted(f"{o.name} {o.color} {o.size} {o.place}" for o in facts.objects)
    key = "|".join([*parts, facts.background, facts.word or ""])
    digit = hashlib.sha256(key.encode()).digest()[0] % 10
    return "heldout" if digit == 0 else "benchmark" if digit == 1 else "train"


def place_object(rng: random.Random, name: str, color: str, size: str, place: str) -> ObjectFact:
    """Return the object with its box, the centre moved by up to JITTER_PIXELS."""
    width, height = sprite(name, color, SIZES[size]).size
    dx, dy = (rng.randint(-JITTER_PIXELS, JITTER_PIXELS) for _ in "xy")
    x0, y0 = PLACES[place][0] + dx - width // 2, PLACES[place][1] + dy - height // 2
    return ObjectFact(name, color, size, place, (x0, y0, x0 + width, y0 + height))


def draw_scene(facts: SceneFacts) -> Image.Image:
    """Paint a scene, 64 x 64 RGB."""
    return draw_scene_with_masks(facts)[0]


def draw_scene_with_masks(facts: SceneFacts) -> tuple[Image.Image, NDArray[np.bool_]]:
    """Paint a scene and return each object's mask, (num_objects, 64, 64)."""
    canvas = Image.new("RGB", (IMAGE_SIZE, IMAGE_SIZE), BACKGROUNDS[facts.background])
    masks = np.zeros((len(facts.objects), IMAGE_SIZE, IMAGE_SIZE), dtype=np.bool_)
    for mask, thing in zip(masks, facts.objects, strict=True):
        picture = sprite(thing.name, thing.color, SIZES[thing.size])
        canvas.paste(picture, thing.box[:2], picture)
        layer = Image.new("L", canvas.size)
        layer.paste(picture.getchannel("A"), thing.box[:2])
        mask[:] = np.asarray(layer) > 127
    if facts.word is not None:
        _write_word(canvas, facts.word, dark_background=facts.background == "black")
    return canvas, masks


def _write_word(canvas: Image.Image, word: str, *, dark_background: bool) -> None:
    ink = (250, 250, 250) if dark_background else (16, 16, 20)
    font = ImageFont.load_default(size=WORD_FONT_PIXELS)
    ImageDraw.Draw(canvas).text(
        (IMAGE_SIZE // 2, 48),
        word,
        fill=ink,
        font=font,
        anchor="mm",
        stroke_width=0.6,
        stroke_fill=ink,
    )


def _draw_facts(rng: random.Random, max_objects: int) -> SceneFacts:
    word = rng.choice(WORDS) if rng.random() < WORD_SHARE else None
    corners = CORNERS[:2] if word else CORNERS
    count = rng.randint(1, min(max_objects, len(corners)))
    places = rng.sample(corners, count)
    if count == 1 and word is None and rng.random() < CENTER_SHARE:
        places = ["center"]
    names = rng.choices(CLASSES, k=count)
    if rng.random() < SAME_CLASS_SHARE:
        names = names[:1] * count
    objects = [
        place_object(rng, name, rng.choice(list(COLORS)), rng.choice(list(SIZES)), place)
        for name, place in zip(names, sorted(places, key=list(PLACES).index), strict=True)
    ]
    return SceneFacts(tuple(objects), rng.choice(list(BACKGROUNDS)), word)
