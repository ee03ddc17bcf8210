"""What is written in a picture: by its facts, or by reading it.

Reading needs the packages of the extra `ocr`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from uae.data.facts import SceneFacts
from uae.rewards.ocr_package import check_ocr_package

_MIN_SIDE_PIXELS = 256  # recognition fails on smaller pictures
_MIN_CONFIDENCE = 0.8


def texts_from_facts(facts: Sequence[SceneFacts | None]) -> list[list[str] | None]:
    """Return the true texts of each picture, none or one; None where the facts are unknown."""
    return [
        None if scene is None else [scene.word] if scene.word is not None else [] for scene in facts
    ]


class TextReader:
    """OCR with RapidOCR's packaged models, on the CPU."""

    def __init__(self) -> None:
        """Load the models.

        Raises:
            ModelError: If RapidOCR is not installed.
        """
        check_ocr_package()
        from rapidocr import RapidOCR

        self._engine: Any = RapidOCR(params={"Global.log_level": "error"})

    def read(self, images_BCHW: Tensor) -> list[list[str]]:
        """Return the texts that stand in each picture, top to bottom; small pictures are enlarged.

        Args:
            images_BCHW: RGB in [0, 1].
        """
        pixels = (images_BCHW.detach().clamp(0, 1) * 255).round().to(torch.uint8)
        return [self._read_one(picture) for picture in pixels.permute(0, 2, 3, 1).cpu().numpy()]

    def _read_one(self, pixels_HWC: np.ndarray[Any, np.dtype[np.uint8]]) -> list[str]:
        picture = Image.fromarray(pixels_HWC)
        factor = max(1.0, _MIN_SIDE_PIXELS / min(picture.size))
        width, height = (round(side * factor) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
        result = self._engine(np.asarray(picture)[:, :, ::-1])  # RapidOCR wants BGR
        if result.txts is None:
            return []
        found = zip(result.txts, result.scores, strict=True)
        return [text.strip() for text, confidence in found if confidence >= _MIN_CONFIDENCE]
