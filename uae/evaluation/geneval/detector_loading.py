"""Which detector a folder holds, by its configuration."""

from pathlib import Path

import torch

from uae.errors import ModelError
from uae.evaluation.geneval.base import Detector
from uae.evaluation.judges.files import check_detector
from uae.models.bundle import read_json


def load_detector(folder: Path, *, batch_size: int, device: torch.device | str = "cpu") -> Detector:
    """Read a Mask2Former (the published protocol's) or a SegFormer (the starter's).

    Raises:
        ModelError: If there is none, it is of another kind, or its weights do not fit.
    """
    check_detector(folder)
    kind = read_json(folder / "config.json").get("model_type")
    if kind == "mask2former":
        from uae.evaluation.geneval.detector import Mask2FormerDetector

        return Mask2FormerDetector.load(folder, batch_size=batch_size, device=device)
    if kind == "segformer":
        from uae.evaluation.geneval.segmentation import SegformerDetector

        return SegformerDetector.load(folder, batch_size=batch_size, device=device)
    raise ModelError(f"{folder} holds a {kind!r}: a detector is a mask2former or a segformer")
