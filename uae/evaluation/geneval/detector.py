"""Object detection with a transformers Mask2Former, post-processed as GenEval's detector is.

Shape letters: B pictures, Q queries, K of them that may be objects, C classes, H and W pixels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from transformers.models.auto.image_processing_auto import AutoImageProcessor
from transformers.models.mask2former.modeling_mask2former import Mask2FormerForUniversalSegmentation

from uae.evaluation.geneval.base import Detector
from uae.evaluation.geneval.rules import SCORE_THRESHOLD, Detection, mask_box
from uae.evaluation.judges.files import check_detector
from uae.evaluation.pictures import Pixels
from uae.models.bundle import bundle_sha, load_transformers, loading

MAX_INSTANCES = 100  # per picture, as in the published detector's configuration


class QueryOutput(NamedTuple):
    """What Mask2Former says about one picture."""

    class_logits_QC: Tensor  # the last class is "nothing"
    mask_logits_QHW: Tensor  # at a quarter of the resolution of the padded input
    padded: tuple[int, int]  # (height, width) of the padded input
    visible: tuple[int, int]  # of the part that is not padding
    size: tuple[int, int]  # of the picture


class Mask2FormerDetector(Detector):
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
    def infer(self, pictures: Sequence[Pixels]) -> list[QueryOutput]:
        """Return the model's output for one batch."""
        inputs = self.image_processor(images=list(pictures), return_tensors="pt")
        pixels, visible = inputs["pixel_values"], inputs["pixel_mask"]
        device = self.model.device
        output = self.model(pixels.to(device), pixel_mask=visible.to(device))
        return [
            QueryOutput(
                classes_QC,
                masks_QHW,
                padded=(pixels.shape[-2], pixels.shape[-1]),
                visible=(int(mask.any(dim=1).sum()), int(mask.any(dim=0).sum())),
                size=(picture.shape[0], picture.shape[1]),
            )
            for picture, mask, classes_QC, masks_QHW in zip(
                pictures,
                visible,
                output.class_queries_logits,
                output.masks_queries_logits,
                strict=True,
            )
        ]

    @torch.inference_mode()
    def objects(self, output: Sequence[QueryOutput]) -> list[list[Detection]]:
        """Return the objects of each picture with a score above 0.3, in any order."""
        return [instances(one, self.classes) for one in output]


def instances(
    output: QueryOutput, classes: Sequence[str], *, min_score: float = SCORE_THRESHOLD
) -> list[Detection]:
    """Turn one picture's query outputs into instances, as mmdet's Mask2Former does.

    The 100 best (query, class) pairs are candidates, the last class being "nothing". A candidate's
    score is its class probability times the mean mask probability inside its mask; its box is the
    tightest around the mask. Candidates with an empty mask are dropped: their score is 0.

    Only the masks of candidates are enlarged: first to the padded input, then, without its padding,
    to the picture.

    Args:
        output: What the model says.
        classes: The C names.
        min_score: What is not above it is left out.
    """
    probabilities_QC = output.class_logits_QC.float().softmax(dim=-1)[:, :-1]
    count = min(MAX_INSTANCES, probabilities_QC.numel())
    top, indices = probabilities_QC.flatten().topk(count)
    top, indices = top[top > min_score], indices[top > min_score]  # the mask factor is at most 1
    if not len(indices):
        return []
    logits_KHW = _enlarged(output.mask_logits_QHW[indices // len(classes)], output)
    masks_KHW = logits_KHW > 0
    areas_K = masks_KHW.flatten(1).sum(1)
    inside_K = (logits_KHW.sigmoid() * masks_KHW).flatten(1).sum(1) / (areas_K + 1e-6)
    scores = (top * inside_K).tolist()
    masks = masks_KHW.cpu().numpy()
    return [
        Detection(classes[index % len(classes)], score, mask_box(mask), mask)
        for index, score, mask in zip(indices.tolist(), scores, masks, strict=True)
        if score > min_score
    ]


def _enlarged(logits_KHW: Tensor, output: QueryOutput) -> Tensor:
    height, width = output.visible
    padded = interpolate(
        logits_KHW[:, None].float(), size=output.padded, mode="bilinear", align_corners=False
    )
    return interpolate(
        padded[..., :height, :width], size=output.size, mode="bilinear", align_corners=False
    )[:, 0]
