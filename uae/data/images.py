"""Decoding untrusted image files into 8-bit RGB, and cropping them to training pixels."""

import io
import warnings
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from uae.errors import DataError

FORMATS = ("PNG", "JPEG", "WEBP")
SIGNATURES = {b"\x89PNG\r\n\x1a\n": "PNG", b"\xff\xd8\xff": "JPEG"}
SIXTEEN_BIT_MODES = {"I", "I;16", "I;16B", "I;16L", "I;16N"}
ALPHA_MODES = {"RGBA", "LA", "PA", "RGBa", "La"}
ORIENTATION = 0x0112  # EXIF's tag; 1 is upright
TURNS = {  # orientation -> what makes the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
ORIENTATION_SOURCES = ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp")


def image_format(data: bytes) -> str | None:
    """Return "PNG", "JPEG", "WEBP" or None from the file's first bytes; the name is not asked."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    return next((name for start, name in SIGNATURES.items() if data.startswith(start)), None)


def open_header(data: bytes) -> Image.Image:
    """Open an encoded image without decoding its pixels.

    Raises:
        DataError: If it is empty, not PNG, JPEG or WebP, or claims so many pixels that decoding it
            would exhaust memory.
    """
    if not data:
        raise DataError("the file is empty (0 bytes)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"too many pixels to decode safely: {error}") from error
    except UnidentifiedImageError as error:
        raise DataError("not a PNG, JPEG or WebP image") from error
    except Exception as error:  # Pillow's plug-ins raise whatever a broken file makes of them
        raise DataError(f"broken header: {type(error).__name__}: {error}") from error


def decode_rgb(data: bytes) -> Image.Image:
    """Decode an image file into 8-bit RGB, upright.

    EXIF rotation is applied, transparency is composited on white, 16 bits are scaled to 8, and
    CMYK goes through its embedded colour profile where it has one.

    Raises:
        DataError: If `open_header` refuses it, its pixel data is truncated or broken, or its EXIF
            cannot be read.
    """
    return upright_rgb(open_header(data))


def upright_rgb(image: Image.Image) -> Image.Image:
    """Convert an opened image to 8-bit RGB, upright, as `decode_rgb` does.

    Raises:
        DataError: If its pixel data is truncated or broken, or its EXIF cannot be read.
    """
    try:
        image.load()
        return to_rgb(_turned(image))
    except Exception as error:  # Pillow's plug-ins raise whatever a broken file makes of them
        raise DataError(f"broken or truncated image: {type(error).__name__}: {error}") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode that PNG, JPEG and WebP can hold to RGB."""
    if image.mode in SIXTEEN_BIT_MODES:
        values = np.asarray(image, dtype=np.float64) / 257
        return Image.fromarray(values.round().clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ALPHA_MODES or "transparency" in image.info:
        pixels = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", pixels.size, "white"), pixels).convert("RGB")
    if image.mode == "CMYK" and image.info.get("icc_profile"):
        embedded = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        converted = ImageCms.profileToProfile(
            image, embedded, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
        if converted is None:
            raise ValueError("the embedded colour profile gave no image")
        return converted
    return image.convert("RGB")


def _turned(image: Image.Image) -> Image.Image:
    """Turn an image upright.

    Not by `ImageOps.exif_transpose`: it writes all of the EXIF anew, and fails where any other tag,
    such as a resolution, is of an unexpected type.
    """
    turn = TURNS.get(image.getexif().get(ORIENTATION, 1))
    if turn is None:
        return image
    turned = image.transpose(turn)
    for source in ORIENTATION_SOURCES:  # or the next reader would turn it once more
        turned.info.pop(source, None)
    return turned


def square_pixels(image: Image.Image, side: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Centre-crop to a square and resize.

    Args:
        image: RGB.
        side: In pixels. An image that already is side x side is not resampled.

    Returns:
        (3, side, side) float32 in [0, 1].
    """
    if image.size != (side, side):
        image = ImageOps.fit(image, (side, side), Image.Resampling.BICUBIC)
    values = np.asarray(image, dtype=np.float32) / np.float32(255)
    return np.ascontiguousarray(values.transpose(2, 0, 1))
