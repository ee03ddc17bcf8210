"""Reads a picture of the starter domain back into facts, by comparison with the artwork itself.

No learned model is involved: each place of the picture is compared with every class, colour,
size, jitter and background that could stand there, and the nearest is what it shows. That makes
it the yardstick for the decoder: a class, a colour or a size is right or it is not.
"""

import itertools
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from uae.data.facts import SceneFacts
from uae.data.starter.artwork import sprite
from uae.data.starter.scenes import JITTER_PIXELS, draw_scene
from uae.data.starter.vocabulary import (
    BACKGROUNDS,
    CLASSES,
    COLORS,
    IMAGE_SIZE,
    PLACES,
    SIZES,
    WORDS,
)

CELL_PIXELS = 32
SHRINK = 2  # compare at half resolution: what a person sees, not single pixels


class Reading(NamedTuple):
    """What stands at one place; None three times where it is empty."""

    name: str | None
    color: str | None
    size: str | None


def read_places(images_BHWC: NDArray[np.uint8], places: list[str]) -> list[Reading]:
    """Return what each picture shows at the given place; images are (B, 64, 64, 3)."""
    labels, templates = _templates()
    cells = [_cell(image, place) for image, place in zip(images_BHWC, places, strict=True)]
    return [labels[index] for index in _nearest(np.stack(cells), templates)]


def read_words(images_BHWC: NDArray[np.uint8]) -> list[str]:
    """Return the word of the domain that is nearest to each picture's lower half."""
    labels, templates = _word_templates()
    cells = [_shrunk(image[IMAGE_SIZE // 2 :]).ravel() for image in images_BHWC]
    return [labels[index] for index in _nearest(np.stack(cells), templates)]


def attribute_accuracy(images_BHWC: NDArray[np.uint8], facts: list[SceneFacts]) -> dict[str, float]:
    """Return the shares of right classes, colours, sizes and wholly right objects, and words.

    An object is wholly right when class, colour and size are right at its place. A word counts
    where the scene has one.
    """
    things = [
        (image, thing) for image, f in zip(images_BHWC, facts, strict=True) for thing in f.objects
    ]
    readings = read_places(np.stack([i for i, _ in things]), [t.place for _, t in things])
    right = {
        "class": [r.name == t.name for r, (_, t) in zip(readings, things, strict=True)],
        "color": [r.color == t.color for r, (_, t) in zip(readings, things, strict=True)],
        "size": [r.size == t.size for r, (_, t) in zip(readings, things, strict=True)],
    }
    right["object"] = [all(flags) for flags in zip(*right.values(), strict=True)]
    right["place"] = [r.name is not None for r in readings]
    written = [(image, f.word) for image, f in zip(images_BHWC, facts, strict=True) if f.word]
    if written:
        words = read_words(np.stack([i for i, _ in written]))
        right["word"] = [a == b for a, (_, b) in zip(words, written, strict=True)]
    return {name: float(np.mean(flags)) for name, flags in right.items()}


def _nearest(cells: NDArray[np.float32], templates: NDArray[np.float32]) -> NDArray[np.int64]:
    norms = np.einsum("td,td->t", templates, templates)
    distances: NDArray[np.float32] = norms - 2 * (cells @ templates.T)
    return np.asarray(distances.argmin(axis=1), dtype=np.int64)


@cache
def _templates() -> tuple[list[Reading], NDArray[np.float32]]:
    labels: list[Reading] = []
    cells: list[NDArray[np.float32]] = []
    shifts = range(-JITTER_PIXELS, JITTER_PIXELS + 1)
    for background in BACKGROUNDS.values():
        blank = Image.new("RGB", (CELL_PIXELS, CELL_PIXELS), background)
        labels.append(Reading(None, None, None))
        cells.append(_shrunk(np.asarray(blank)).ravel())
        for name, color, size in itertools.product(CLASSES, COLORS, SIZES):
            picture = sprite(name, color, SIZES[size])
            for dx, dy in itertools.product(shifts, shifts):
                cell = blank.copy()
                x0 = CELL_PIXELS // 2 + dx - picture.width // 2
                y0 = CELL_PIXELS // 2 + dy - picture.height // 2
                cell.paste(picture, (x0, y0), picture)
                labels.append(Reading(name, color, size))
                cells.append(_shrunk(np.asarray(cell)).ravel())
    return labels, np.stack(cells)


@cache
def _word_templates() -> tuple[list[str], NDArray[np.float32]]:
    labels, cells = [], []
    for word, background in itertools.product(WORDS, BACKGROUNDS):
        image = np.asarray(draw_scene(SceneFacts((), background, word)))
        labels.append(word)
        cells.append(_shrunk(image[IMAGE_SIZE // 2 :]).ravel())
    return labels, np.stack(cells)


def _cell(image: NDArray[np.uint8], place: str) -> NDArray[np.float32]:
    x, y = PLACES[place]
    half = CELL_PIXELS // 2
    return _shrunk(image[y - half : y + half, x - half : x + half]).ravel()


def _shrunk(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    height, width, channels = image.shape
    blocks = image.reshape(height // SHRINK, SHRINK, width // SHRINK, SHRINK, channels)
    return np.asarray(blocks.mean(axis=(1, 3)) / 255, dtype=np.float32)
