"""Regions of a class map as detections, on maps made by hand."""

import numpy as np
import pytest

from uae.evaluation.geneval.segmentation import regions

NAMES = ("cat", "dog", "background")


def probabilities(boxes):
    """Return (3, 20, 20) with background 1 but where boxes (y0, y1, x0, x1) -> (cat, dog) say."""
    maps = np.zeros((3, 20, 20), dtype=np.float32)
    maps[2] = 1
    for (y0, y1, x0, x1), (cat, dog) in boxes.items():
        maps[:, y0:y1, x0:x1] = np.array([cat, dog, 1 - cat - dog])[:, None, None]
    return maps


def test_each_region_is_an_object_with_its_box():
    found = regions(probabilities({(2, 8, 2, 6): (1, 0), (12, 18, 10, 18): (0, 1)}), NAMES)
    assert [(d.name, d.score, d.box) for d in found] == [
        ("cat", 1.0, (2, 2, 6, 8)),
        ("dog", 1.0, (10, 12, 18, 18)),
    ]


def test_score_is_the_share_of_votes_for_the_class_and_not_its_probability():
    maps = probabilities({(2, 8, 2, 8): (0.6, 0.4), (8, 10, 2, 8): (0.3, 0.7)})
    (one,) = regions(maps, NAMES)
    assert one.name == "cat"
    assert one.score == pytest.approx(36 / 48)


def test_soft_outlines_do_not_vote():
    maps = probabilities({(2, 10, 2, 10): (0.3, 0.5), (4, 8, 4, 8): (0.98, 0.0)})
    (one,) = regions(maps, NAMES)
    assert (one.name, one.score, one.box) == ("cat", 1.0, (2, 2, 10, 10))


def test_specks_are_no_objects():
    assert regions(probabilities({(0, 1, 0, 3): (1, 0)}), NAMES) == []
