"""GenEval's classes, and which detectors know them."""

import pytest

from uae.errors import EvaluationError
from uae.evaluation.geneval.vocabulary import (
    ALIASES,
    OFFICIAL_CLASSES,
    OFFICIAL_COLORS,
    official_names,
)

COCO_NAMES = {  # where COCO's own names differ from GenEval's
    "computer mouse": "mouse",
    "tv remote": "remote",
    "computer keyboard": "keyboard",
}
VOC_NAMES = {  # coco-detection-mmdet-id2label.json
    "motorcycle": "motorbike",
    "airplane": "aeroplane",
    "couch": "sofa",
    "potted plant": "pottedplant",
    "dining table": "diningtable",
    "tv": "tvmonitor",
}


def labels(*renamings):
    other = {name: label for renaming in renamings for name, label in renaming.items()}
    return [other.get(name, name) for name in OFFICIAL_CLASSES]


def test_there_are_80_classes_and_10_colors():
    assert len(set(OFFICIAL_CLASSES)) == 80
    assert len(set(OFFICIAL_COLORS)) == 10
    assert (OFFICIAL_CLASSES[0], OFFICIAL_CLASSES[64], OFFICIAL_CLASSES[79]) == (
        "person",
        "computer mouse",
        "toothbrush",
    )


@pytest.mark.parametrize("renamings", [(), (COCO_NAMES,), (COCO_NAMES, VOC_NAMES)])
def test_detectors_with_cocos_classes_are_understood(renamings):
    names = official_names(labels(*renamings))
    assert list(names.values()) == list(OFFICIAL_CLASSES)
    assert names[labels(*renamings)[65]] == "tv remote"


def test_every_alias_stands_for_a_class_and_hides_none():
    assert set(ALIASES.values()) <= set(OFFICIAL_CLASSES)
    assert not ALIASES.keys() & set(OFFICIAL_CLASSES)


def test_other_classes_orders_and_numbers_are_refused():
    swapped = labels(COCO_NAMES)
    swapped[1], swapped[2] = swapped[2], swapped[1]
    with pytest.raises(EvaluationError, match=r"class 1 is 'car', GenEval's is 'bicycle'"):
        official_names(swapped)
    with pytest.raises(EvaluationError, match="class 0 is 'N/A'"):
        official_names(["N/A", *labels()])
    with pytest.raises(EvaluationError, match="has 79 classes"):
        official_names(labels()[:-1])
    with pytest.raises(EvaluationError, match="has 81 classes"):
        official_names([*labels(), "tree"])
