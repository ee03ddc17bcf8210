"""Pictures inside the page: small, each once however many samples show it."""

import base64
import hashlib
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from PIL import Image

LONGEST_SIDE = 256
LOSSLESS_SIDE = 96  # pixels; small pictures are shown enlarged, where artefacts would be seen
MAX_BYTES = 12_000  # of one picture
QUALITIES = (80, 55, 30)
FORMATS = ("PNG", "JPEG", "WEBP")


class Picture(NamedTuple):
    """A thumbnail, and the size of what it was made from: boxes are in those pixels."""

    uri: str
    width: int
    height: int


class Album:
    """The thumbnails of a page."""

    def __init__(self) -> None:
        self.pictures: list[Picture] = []
        self.num_bytes = 0  # of all thumbnails, as encoded in the page
        self._places: dict[str, int] = {}

    def add(self, folder: Path, name: str) -> int | str:
        """Take in a picture of a result folder.

        Returns:
            Its place in `pictures`, or why there is none. Results come from anywhere: what
            leads out of their folder is not opened.
        """
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            return f"{name} is outside of the result's folder"
        try:
            content = path.read_bytes()
        except OSError:
            return f"{name} is not there"
        key = hashlib.sha256(content).hexdigest()
        if key not in self._places:
            try:
                picture = _thumbnail(content)
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
                return f"{name} is no picture that can be read"
            self._places[key] = len(self.pictures)
            self.pictures.append(picture)
            self.num_bytes += len(picture.uri)
        return self._places[key]


def _thumbnail(content: bytes) -> Picture:
    with Image.open(BytesIO(content), formats=FORMATS) as opened:
        image = opened.convert("RGB")
    width, height = image.size
    lossless = max(image.size) <= LOSSLESS_SIDE
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    encoded = _encode(image, lossless=True) if lossless else b""
    while not 0 < len(encoded) <= MAX_BYTES:
        for quality in QUALITIES:
            encoded = _encode(image, quality=quality)
            if len(encoded) <= MAX_BYTES:
                break
        image = image.resize((max(1, image.width // 2), max(1, image.height // 2)))
    uri = "data:image/webp;base64," + base64.b64encode(encoded).decode("ascii")
    return Picture(uri, width, height)


def _encode(image: Image.Image, *, lossless: bool = False, quality: int = 80) -> bytes:
    stream = BytesIO()
    image.save(stream, "WEBP", lossless=lossless, quality=quality, method=6 if lossless else 4)
    return stream.getvalue()
