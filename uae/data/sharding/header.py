"""The size of a picture as it will be decoded, from its header alone."""

from __future__ import annotations

import struct

from PIL import Image

from uae.data.images import ORIENTATION, image_format, open_header
from uae.errors import DataError

PNG_SIGNATURE_BYTES = 8
PNG_PIXELS = {b"IDAT", b"fdAT"}
PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
SIDEWAYS = {5, 6, 7, 8}  # EXIF orientations that swap width and height


def upright_size(data: bytes) -> tuple[int, int]:
    """Return width and height in pixels after the EXIF rotation. No pixel is decoded.

    Args:
        data: The whole file: a PNG may tell its rotation after its pixels.

    Raises:
        DataError: If `open_header` refuses it, or its EXIF cannot be read.
    """
    image = open_header(_without_pixels(data) if image_format(data) == "PNG" else data)
    try:
        # The base class's: that of PNG decodes the pixels to find what may follow them.
        orientation = Image.Image.getexif(image).get(ORIENTATION, 1)
    except Exception as error:  # Pillow raises whatever a broken file makes of it
        raise DataError(f"broken EXIF: {type(error).__name__}: {error}") from error
    width, height = image.size
    return (height, width) if orientation in SIDEWAYS else (width, height)


def _without_pixels(png: bytes) -> bytes:
    """Leave the chunks of pixels out."""
    kept, place = [png[:PNG_SIGNATURE_BYTES]], PNG_SIGNATURE_BYTES
    while place + 8 <= len(png):
        num_bytes, kind = struct.unpack_from(">I4s", png, place)
        end = place + 12 + num_bytes  # length, kind, content, checksum
        if kind not in PNG_PIXELS:
            kept.append(png[place:end])
        place = end
    return b"".join([*kept, PNG_END])  # a file that is cut off has none of its own
