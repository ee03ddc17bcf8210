"""Pictures embedded in the page: small, as data URIs."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path

from PIL import Image

LOSSLESS_SIDE = 96  # pixels; small pictures are shown enlarged, where artefacts would be seen
LONGEST_SIDE = 224


def data_uri(path: Path) -> str:
    """Return the picture as a WebP data URI, at most LONGEST_SIDE pixels a side."""
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    lossless = max(image.size) <= LOSSLESS_SIDE
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    stream = BytesIO()
    image.save(stream, "WEBP", lossless=lossless, quality=80, method=6)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
