"""Object detection with a transformers SegFormer: connected regions of its class map.

For domains whose objects do not touch. It is not the published GenEval detector; results made with
it carry its name and are refused in comparisons with others.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import find_objects, label
from torch import Tensor
from torch.nn.functional import interpolate
from transformers.models.segformer.image_processing_segformer import SegformerImageProcessor
from transformers.models.segformer.modeling_segformer import SegformerForSemanticSegmentation

from uae.errors import ModelError
from uae.evaluation.geneval.base import Detector
from uae.evaluation.geneval.rules import SCORE_THRESHOLD, Detection
from uae.evaluation.pictures import Pixels
from uae.models.bundle import bundle_sha, load_transformers, loading

BACKGROUND = "background"
MIN_REGION_SHARE = 0.008  # of the picture; smaller regions are specks, not objects
TOGETHER = 4  # pictures of one size whose maps are enlarged at once: more leave the cache
WITHIN_A_PICTURE = np.zeros((3, 3, 3), dtype=np.int8)  # what touches: also diagonally
WITHIN_A_PICTURE[1] = 1
CORE = 0.1  # background probability below which a pixel is inside an object, not on its outline


class ClassMaps(NamedTuple):
    """What SegFormer says about a batch."""

    logits_BCHW: Tensor  # at a quarter of the resolution of the input
    sizes: list[tuple[int, int]]  # (height, width) of the pictures


class SegformerDetector(Detector):
    """A detector stored as SegFormer's `save_pretrained` folder, one class named "background"."""

    def __init__(
        self, model: Any, image_processor: Any, *, identity: dict[str, str], batch_size: int
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.image_processor = image_processor
        self.identity = identity
        self.batch_size = batch_size
        names = model.config.id2label
        self._names = [names[index] for index in range(len(names))]
        self.classes = tuple(name for name in self._names if name != BACKGROUND)

    @classmethod
    def load(
        cls, folder: Path, *, batch_size: int, device: torch.device | str = "cpu"
    ) -> "SegformerDetector":
        """Read a detector.

        Raises:
            ModelError: If the weights do not fit their configuration, or no class is background.
        """
        model = load_transformers(SegformerForSemanticSegmentation, folder)
        with loading(folder):
            processor = SegformerImageProcessor.from_pretrained(folder, local_files_only=True)
        if BACKGROUND not in model.config.id2label.values():
            raise ModelError(f'{folder}: one class must be named "{BACKGROUND}"')
        identity = {"kind": "segformer-regions", "score": "votes", "sha256": bundle_sha(folder)}
        return cls(model.to(device), processor, identity=identity, batch_size=batch_size)

    @torch.inference_mode()
    def infer(self, pictures: Sequence[Pixels]) -> ClassMaps:
        """Return the model's output for one batch."""
        inputs = self.image_processor(images=list(pictures), return_tensors="pt")
        logits_BCHW = self.model(inputs["pixel_values"].to(self.model.device)).logits
        return ClassMaps(
            logits_BCHW, [(picture.shape[0], picture.shape[1]) for picture in pictures]
        )

    @torch.inference_mode()
    def objects(self, output: ClassMaps) -> list[list[Detection]]:
        """Return the objects of each picture with a score above 0.3, in any order."""
        found: dict[int, list[Detection]] = {}
        for size in dict.fromkeys(output.sizes):
            same = [index for index, other in enumerate(output.sizes) if other == size]
            for start in range(0, len(same), TOGETHER):
                chosen = same[start : start + TOGETHER]
                maps = interpolate(output.logits_BCHW[chosen], size=size, mode="bilinear")
                probabilities_BCHW = maps.softmax(dim=1).cpu().numpy()
                found |= zip(chosen, regions(probabilities_BCHW, self._names), strict=True)
        return [found[index] for index in range(len(output.sizes))]


def regions(probabilities_BCHW: NDArray[np.float32], names: Sequence[str]) -> list[list[Detection]]:
    """Turn class probabilities into instances: connected regions that are not background.

    A region is a connected set of pixels that are likelier something than background. Each pixel
    inside its outline votes for its likeliest class; the region's class is the one with the most
    votes, its score the share of them. (Mean probability would be less certain of a small object,
    and GenEval counts only what is above 0.9.)
    """
    background = names.index(BACKGROUND)
    outside_BHW = probabilities_BCHW[:, background]
    labels_BHW, count = label(outside_BHW < 0.5, structure=WITHIN_A_PICTURE)
    inside_BHW = labels_BHW > 0
    region_N = labels_BHW[inside_BHW]  # the region of each pixel that is in one
    core_N = outside_BHW[inside_BHW] < CORE
    has_core_R = np.bincount(region_N, weights=core_N, minlength=count + 1) > 0
    classes_CN = np.moveaxis(probabilities_BCHW, 1, 0)[:, inside_BHW]
    classes_CN[background] = 0
    ballots = region_N * len(names) + classes_CN.argmax(axis=0)
    votes_RC = np.bincount(
        ballots, weights=core_N | ~has_core_R[region_N], minlength=(count + 1) * len(names)
    ).reshape(count + 1, len(names))
    shares_R = np.bincount(region_N, minlength=count + 1) / outside_BHW[0].size
    found: list[list[Detection]] = [[] for _ in probabilities_BCHW]
    for number, (picture, rows, columns) in enumerate(find_objects(labels_BHW), start=1):
        best = int(votes_RC[number].argmax())
        score = float(votes_RC[number, best] / votes_RC[number].sum())
        if shares_R[number] >= MIN_REGION_SHARE and score > SCORE_THRESHOLD:
            mask = labels_BHW[picture.start] == number
            x0, y0, x1, y1 = columns.start, rows.start, columns.stop, rows.stop
            box = (float(x0), float(y0), float(x1), float(y1))
            found[picture.start].append(Detection(names[best], score, box, mask))
    return found
