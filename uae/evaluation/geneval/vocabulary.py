"""Which classes and colours prompts may name, and the names that detectors have for them.

Sources: object_names.txt and evaluate_images.py in github.com/djghosh13/geneval (evaluation/).
The script's detector gives class numbers, which that file names: COCO's 80 classes in COCO's order,
three of them under names of its own. A detector of transformers has names already: COCO's, or for
facebook/mask2former-swin-*-coco-instance those of coco-detection-mmdet-id2label.json (of
huggingface/label-files), which calls six classes as Pascal VOC does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from uae.data.starter.vocabulary import CLASSES, COLORS
from uae.errors import EvaluationError

OFFICIAL_COLORS = (
    "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white",
)  # fmt: skip
OFFICIAL_CLASSES = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat",
    "traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog",
    "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella",
    "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite",
    "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange",
    "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant",
    "bed", "dining table", "toilet", "tv", "laptop", "computer mouse", "tv remote",
    "computer keyboard", "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator",
    "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
ALIASES: Mapping[str, str] = {  # a detector's name -> GenEval's
    "mouse": "computer mouse",  # COCO
    "remote": "tv remote",
    "keyboard": "computer keyboard",
    "motorbike": "motorcycle",  # coco-detection-mmdet-id2label.json
    "aeroplane": "airplane",
    "sofa": "couch",
    "pottedplant": "potted plant",
    "diningtable": "dining table",
    "tvmonitor": "tv",
}
VocabularyName = Literal["official", "starter"]


@dataclass(frozen=True)
class Vocabulary:
    """What prompts may ask for."""

    name: VocabularyName
    classes: tuple[str, ...]
    colors: tuple[str, ...]


VOCABULARIES: Mapping[VocabularyName, Vocabulary] = {
    "official": Vocabulary("official", OFFICIAL_CLASSES, OFFICIAL_COLORS),
    "starter": Vocabulary("starter", CLASSES, tuple(COLORS)),
}


def official_names(labels: Sequence[str]) -> dict[str, str]:
    """Return a detector's label -> GenEval's name, for labels that are COCO's in COCO's order.

    Raises:
        EvaluationError: Naming the first class that differs, or how many classes there are.
    """
    for index, (label, name) in enumerate(zip(labels, OFFICIAL_CLASSES, strict=False)):
        if ALIASES.get(label, label) != name:
            raise EvaluationError(
                f"the detector's class {index} is {label!r}, GenEval's is {name!r}: the official "
                f"vocabulary needs a detector of COCO's 80 classes in COCO's order"
            )
    if len(labels) != len(OFFICIAL_CLASSES):
        raise EvaluationError(
            f"the detector has {len(labels)} classes, the official vocabulary "
            f"{len(OFFICIAL_CLASSES)}: give a detector of COCO's 80 classes in COCO's order"
        )
    return dict(zip(labels, OFFICIAL_CLASSES, strict=True))
