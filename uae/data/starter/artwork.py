"""The artwork as transparent sprites, in any of the domain's colours and sizes."""

import io
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from uae.data.starter.vocabulary import ARTWORK_FOLDER, COLORS

RENDER_PIXELS = 192
MAX_HUE_DISTANCE = 42 / 360  # parts this close to the main hue are recoloured; others stay
MAIN_HUES = {"boat": 48 / 360}  # where the largest coloured part (here the water) is not the thing


@cache
def sprite(name: str, color: str, longer_side: int) -> Image.Image:
    """Return a class's picture in a colour, cropped to its outline, RGBA."""
    picture = _recolored(name, color)
    scale = longer_side / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.LANCZOS)


@cache
def _recolored(name: str, color: str) -> Image.Image:
    rgba = np.asarray(_rendered(name), dtype=np.float32) / np.float32(255)
    rgb, alpha = rgba[..., :3], rgba[..., 3:]
    hue, saturation, value = _hsv(rgb)
    colored = (alpha[..., 0] > 0.5) & (saturation > 0.25) & (value > 0.2)
    main_hue = MAIN_HUES.get(name, _largest_hue(hue[colored], value[colored]))
    distance = np.abs((hue - main_hue + 0.5) % 1 - 0.5)
    part = (distance < MAX_HUE_DISTANCE) & (saturation > 0.2)
    main_value = float(np.median(value[part & colored]))
    target = np.asarray(COLORS[color], dtype=np.float32) / 255
    shade = np.clip(value / main_value, 0, 1)[..., None]
    whiteness = np.clip(1 - saturation / np.median(saturation[part & colored]), 0, 0.6)[..., None]
    tinted = shade * target * (1 - whiteness) + shade * whiteness
    out = np.concatenate([np.where(part[..., None], tinted, rgb), alpha], axis=-1)
    return Image.fromarray((out * 255).round().astype(np.uint8), "RGBA")


@cache
def _rendered(name: str) -> Image.Image:
    import resvg_py  # only needed to draw scenes, not to use the shipped ones

    svg = (ARTWORK_FOLDER / f"{name}.svg").read_text(encoding="utf-8")
    png = resvg_py.svg_to_bytes(svg_string=svg, width=RENDER_PIXELS, height=RENDER_PIXELS)
    picture = Image.open(io.BytesIO(bytes(png))).convert("RGBA")
    return picture.crop(picture.getchannel("A").getbbox())


def _largest_hue(hue: NDArray[np.float32], value: NDArray[np.float32]) -> float:
    counts, edges = np.histogram(hue, bins=36, range=(0, 1), weights=value)
    return float(edges[counts.argmax()] + 0.5 / 36)


def _hsv(
    rgb: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    value, low = rgb.max(-1), rgb.min(-1)
    span = np.maximum(value - low, 1e-6)
    r, g, b = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    sector = np.where(
        value == r,
        ((g - b) / span) % 6,
        np.where(value == g, (b - r) / span + 2, (r - g) / span + 4),
    )
    return sector / 6, (value - low) / np.maximum(value, 1e-6), value
