"""Texts drawn with a font: pictures of which it is known what is written in them."""

import textwrap
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from uae.evaluation.pictures import Pixels

FONT_PIXELS = 40
LINE_PIXELS = 56
LINE_CHARACTERS = 20
MIN_SIDE = 256
MARGIN = 24
_NO_CHARACTER = "\uffff"  # never assigned: a font draws its sign for what it lacks


def can_render(texts: Sequence[str]) -> bool:
    """Return whether the font has every character; Pillow's own has those of ASCII."""
    lacking = _shape(_NO_CHARACTER)
    characters = {character for text in texts for character in text if not character.isspace()}
    return all(_shape(character) != lacking for character in characters)


def render(texts: Sequence[str]) -> Pixels:
    """Return a square picture, black on white, with each text on lines of its own."""
    lines = [line for text in texts for line in textwrap.wrap(text, LINE_CHARACTERS)]
    width = max(int(_font().getlength(line)) for line in lines)
    side = max(MIN_SIDE, width + 2 * MARGIN, len(lines) * LINE_PIXELS + 2 * MARGIN)
    picture = Image.new("RGB", (side, side), "white")
    draw = ImageDraw.Draw(picture)
    top = (side - len(lines) * LINE_PIXELS) / 2
    for number, line in enumerate(lines):
        middle = (side / 2, top + (number + 0.5) * LINE_PIXELS)
        draw.text(middle, line, fill="black", font=_font(), anchor="mm")
    return np.array(picture)


@cache
def _font() -> Any:
    return ImageFont.load_default(FONT_PIXELS)


@cache
def _shape(character: str) -> tuple[tuple[int, int], bytes]:
    mask = _font().getmask(character)
    return mask.size, bytes(mask)
