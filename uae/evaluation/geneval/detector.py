"""Object detection with a transformers Mask2Former, post-processed as GenEval's detector is.

Shape letters: B pictures, Q queries, C classes, H and W pixels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from transformers.models.auto.image_processing_auto import AutoImageProcessor
from transformers.models.mask2former.modeling_mask2former import Mask2FormerForUniversalSegmentation

from uae.evaluation.geneval.rules import SCORE_THRESHOLD, Detection
from uae.evaluation.judges.files import check_detector
from uae.evaluation.pictures import Pixels
from uae.models.bundle import bundle_sha, load_transformers, loading

MAX_INSTANCES = 100  # per picture, as in the published detector's configuration


class Detector(Protocol):
    """Finds objects of named classes."""

    @property
    def identity(self) -> dict[str, str]:
        """What detects; stamped into results."""
        ...

    @property
    def classes(self) -> Sequence[str]:
        """The classes that it knows."""
        ...

    def detect(self, pictures: Sequence[Pixels]) -> list[list[Detection]]:
        """Return the objects of each picture with a score above 0.3, in any order."""
        ...


class Mask2FormerDetector:
    """A detector stored as Mask2Former's `save_pretrained` folder, `id2label` the class names."""

    def __init__(
        self, model: Any, image_processor: Any, *, identity: dict[str, str], batch_size: int
    ) -> None:
        self.model = model
        self.image_processor = image_processor
        self.identity = identity
        self.batch_size = batch_size
        names = model.config.id2label
        self.classes = tuple(names[index] for index in range(len(names)))

    @classmethod
    def load(
        cls, folder: Path, *, batch_size: int, device: torch.device | str = "cpu"
    ) -> "Mask2FormerDetector":
        """Read a detector.

        Raises:
            ModelError: If the folder is missing, or its weights do not fit its configuration.
        """
        check_detector(folder)
        model = load_transformers(Mask2FormerForUniversalSegmentation, folder)
        with loading(folder):
            processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
        identity = {"kind": "mask2former", "sha256": bundle_sha(folder)}
        return cls(model.to(device), processor, identity=identity, batch_size=batch_size)

    @torch.inference_mode()
    def detect(self, pictures: Sequence[Pixels]) -> list[list[Detection]]:
        """Return the objects of each picture with a score above 0.3, in any order."""
        found: list[list[Detection]] = []
        for start in range(0, len(pictures), self.batch_size):
            batch = pictures[start : start + self.batch_size]
            inputs = self.image_processor(images=list(batch), return_tensors="pt")
            inputs = inputs.to(self.model.device)
            output = self.model(inputs["pixel_values"], pixel_mask=inputs["pixel_mask"])
            masks_BQHW = interpolate(
                output.masks_queries_logits,
                size=inputs["pixel_values"].shape[-2:],
                mode="bilinear",
                align_corners=False,
            )
            for picture, mask, classes_QC, masks_QHW in zip(
                batch, inputs["pixel_mask"], output.class_queries_logits, masks_BQHW, strict=True
            ):
                height, width = int(mask.any(dim=1).sum()), int(mask.any(dim=0).sum())
                visible_QHW = masks_QHW[:, :height, :width]  # the rest is padding
                found.append(
                    instances(classes_QC, visible_QHW, self.classes, size=picture.shape[:2])
                )
        return found


def instances(
    class_logits_QC: Tensor,
    mask_logits_QHW: Tensor,
    classes: Sequence[str],
    *,
    size: tuple[int, ...],
    min_score: float = SCORE_THRESHOLD,
) -> list[Detection]:
    """Turn one picture's query outputs into instances, as mmdet's Mask2Former does.

    The 100 best (query, class) pairs are candidates, the last class being "nothing". A candidate's
    score is its class probability times the mean mask probability inside its mask; its box is the
    tightest around the mask. Candidates with an empty mask are dropped: their score is 0.

    Args:
        class_logits_QC: (Q, C + 1).
        mask_logits_QHW: (Q, h, w) at any resolution.
        classes: The C names.
        size: The picture's (height, width) in pixels.
        min_score: What is not above it is left out.
    """
    probabilities_QC = class_logits_QC.float().softmax(dim=-1)[:, :-1]
    count = min(MAX_INSTANCES, probabilities_QC.numel())
    top, indices = probabilities_QC.flatten().topk(count)
    top, indices = top[top > min_score], indices[top > min_score]  # the mask factor is at most 1
    if not len(indices):
        return []
    queries = indices // len(classes)
    logits = interpolate(
        mask_logits_QHW[queries][:, None].float(), size=tuple(size), mode="bilinear"
    )[:, 0]
    masks = logits > 0
    inside = (logits.sigmoid() * masks).flatten(1).sum(1) / (masks.flatten(1).sum(1) + 1e-6)
    found = []
    for index, score, mask in zip(indices.tolist(), (top * inside).tolist(), masks, strict=True):
        if score > min_score:
            rows, columns = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
            box = (
                float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)
            )  # fmt: skip
            name = classes[index % len(classes)]
            found.append(Detection(name, score, box, mask.cpu().numpy()))
    return found
