"""Pictures embedded in the page: small, as data URIs."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path

from PIL import Image

LOSSLESS_SIDE = 96  # pixels; small pictures are shown enlarged, where artefacts would be seen
LONGEST_SIDE = 224
MAX_BYTES = 16_000  # of one picture: with 60 of them the run's report stays below 2 MB
QUALITIES = (80, 50, 20)


def data_uri(path: Path) -> str:
    """Return the picture as a WebP data URI, at most LONGEST_SIDE pixels a side.

    One that needs more than MAX_BYTES loses quality, then size.
    """
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    lossless = max(image.size) <= LOSSLESS_SIDE
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    encoded = _encode(image, lossless=lossless) if lossless else b""
    while not 0 < len(encoded) <= MAX_BYTES:
        for quality in QUALITIES:
            encoded = _encode(image, quality=quality)
            if len(encoded) <= MAX_BYTES:
                break
        image = image.resize((max(1, image.width // 2), max(1, image.height // 2)))
    return "data:image/webp;base64," + base64.b64encode(encoded).decode("ascii")


def _encode(image: Image.Image, *, lossless: bool = False, quality: int = 80) -> bytes:
    stream = BytesIO()
    image.save(stream, "WEBP", lossless=lossless, quality=quality, method=6 if lossless else 4)
    return stream.getvalue()
