"""OCR as the judge of written words: who it is, and whether it reads what is known."""

from collections.abc import Sequence
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from uae.errors import EvaluationError
from uae.evaluation.pictures import Pixels, to_images
from uae.evaluation.self_test import SelfTest
from uae.evaluation.text_fidelity.prompts import TextPrompt
from uae.evaluation.text_fidelity.rendering import render
from uae.evaluation.text_fidelity.words import word_accuracy
from uae.fingerprints import folder_sha256
from uae.rewards.ocr_package import check_ocr_package
from uae.rewards.texts import TextReader

MIN_UPSCALE = 256  # the reader enlarges to this in any case
NUM_SELF_TEST = 12
PLAIN_WORDS = ("OPEN", "Coffee", "Summer Sale", "EXIT", "Library", "Good morning")


class Reader(Protocol):
    """Reads what is written in pictures."""

    def read(self, picture: Pixels) -> list[str]:
        """Return the texts in a picture."""
        ...


class PictureReader:
    """OCR by RapidOCR, of pictures of any size, smaller ones enlarged."""

    def __init__(self, upscale_to: int) -> None:
        """Load the models.

        Raises:
            ModelError: If RapidOCR is not installed.
        """
        self._upscale_to = upscale_to
        self._reader = TextReader()

    def read(self, picture: Pixels) -> list[str]:
        """Return the texts in a picture, top to bottom."""
        return self._reader.read(to_images([enlarge(picture, self._upscale_to)]))[0]


def enlarge(picture: Pixels, side: int) -> Pixels:
    """Return a picture whose shorter side is at least `side` pixels."""
    height, width = picture.shape[:2]
    factor = side / min(height, width)
    if factor <= 1:
        return picture
    size = (round(width * factor), round(height * factor))
    return np.array(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))


def reader_identity(upscale_to: int) -> dict[str, str]:
    """Return what reads, by its package: results of different readers are never compared.

    Raises:
        ModelError: If RapidOCR is not installed.
        EvaluationError: If pictures would be enlarged less than the reader does by itself.
    """
    if upscale_to < MIN_UPSCALE:
        raise EvaluationError(
            f"text_fidelity.upscale_to is {upscale_to}: give at least {MIN_UPSCALE}, recognition "
            "fails on smaller pictures"
        )
    check_ocr_package()
    models = Path(str(files("rapidocr"))) / "models"
    return {
        "kind": "rapidocr",
        "version": version("rapidocr"),
        "sha256": folder_sha256(models),
        "upscale_to": str(upscale_to),
    }


def check_reader(reader: Reader, prompts: Sequence[TextPrompt], minimum: float) -> dict[str, Any]:
    """Refuse a reader that does not read known words, or reads words that are not there.

    Known are the prompts' own words in their known pictures, or plain words where no font has them.

    Raises:
        EvaluationError: With the accuracy.
    """
    known = [
        (prompt.asked, prompt.known_picture())
        for prompt in prompts
        if prompt.known_picture is not None
    ][:NUM_SELF_TEST]
    known = known or [((text,), render([text])) for text in PLAIN_WORDS]
    check = SelfTest("the text reader")
    for asked, picture in known:
        read = reader.read(picture)
        check.add("words", expected=True, answered=word_accuracy(asked, read) == 1)
        others = [other for other, _ in known if word_accuracy(asked, other) < 1]
        for other in others[:1]:
            check.add("words", expected=False, answered=word_accuracy(other, read) == 1)
    check.require(minimum)
    return check.to_json()
