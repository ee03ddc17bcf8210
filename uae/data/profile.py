"""Profiling: every image is opened and decoded, every caption is measured; nothing is judged."""

import hashlib
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import imagehash
from PIL import Image

from uae.data.images import decode_rgb, open_header
from uae.data.sample import Sample
from uae.data.words import count_words
from uae.errors import DataError
from uae.recipe import DataRecipe


@dataclass(frozen=True)
class SampleProfile:
    """What was measured on one sample. None where the image could not be read that far."""

    image_id: str
    split: str | None
    source: str
    licence: str
    caption_words: int
    caption_characters: int
    control_characters: int
    file_bytes: int
    image_fault: str  # "" if the image decodes
    format: str | None = None
    mode: str | None = None  # PIL's, as stored: CMYK, P, I;16, RGBA, ...
    min_side: int | None = None  # pixels
    max_side: int | None = None
    num_frames: int | None = None
    sha256: str | None = None  # of the encoded file
    perceptual_hash: str | None = None  # 64-bit pHash, hex


def profile_samples(
    samples: Iterable[Sample], limits: DataRecipe
) -> Iterator[tuple[SampleProfile, Image.Image | None]]:
    """Measure samples one after another.

    An image over `limits.max_side_pixels` is measured by its header and not decoded; a file over
    `limits.max_file_bytes` is not even read.

    Yields:
        The profile, and the decoded RGB image or None.
    """
    for sample in samples:
        yield _profile(sample, limits)


def count_control_characters(caption: str) -> int:
    """Count control characters other than line breaks and tabs."""
    return sum(unicodedata.category(c) == "Cc" and c not in "\n\r\t" for c in caption)


def _profile(sample: Sample, limits: DataRecipe) -> tuple[SampleProfile, Image.Image | None]:
    measured: dict[str, object] = {}
    image = None
    fault = ""
    if sample.num_bytes <= limits.max_file_bytes:
        try:
            data = sample.read_bytes()
            measured = _measure_header(data)
            if max(open_header(data).size) <= limits.max_side_pixels:
                image = decode_rgb(data)
                measured["perceptual_hash"] = str(imagehash.phash(image))
        except DataError as error:
            fault = str(error)
    profile = SampleProfile(
        image_id=sample.image_id,
        split=sample.split,
        source=sample.source,
        licence=sample.licence,
        caption_words=count_words(sample.caption),
        caption_characters=len(sample.caption),
        control_characters=count_control_characters(sample.caption),
        file_bytes=sample.num_bytes,
        image_fault=fault,
        **measured,  # type: ignore[arg-type]
    )
    return profile, image


def _measure_header(data: bytes) -> dict[str, object]:
    header = open_header(data)
    # Phones put a second picture (depth, HDR) behind a JPEG: an MPO, whose first is the photo.
    is_mpo = header.format == "MPO"
    return {
        "format": "JPEG" if is_mpo else header.format,
        "mode": header.mode,
        "min_side": min(header.size),
        "max_side": max(header.size),
        "num_frames": 1 if is_mpo else getattr(header, "n_frames", 1),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
