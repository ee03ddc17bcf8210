"""Regions of a class map as detections, on maps made by hand."""

import random
import shutil

import numpy as np
import pytest

from uae.data.starter.scenes import sample_facts
from uae.data.starter.vocabulary import STARTER_WEIGHTS
from uae.errors import ModelError
from uae.evaluation.benchmark_scenes import scene_picture
from uae.evaluation.geneval.detector_loading import load_detector
from uae.evaluation.geneval.segmentation import SegformerDetector, probabilities, regions


@pytest.fixture(scope="module")
def starter_detector():
    return load_detector(STARTER_WEIGHTS / "detector", batch_size=3)


NAMES = ("cat", "dog", "background")


def drawn(boxes):
    """Return (3, 20, 20) with background 1 but where boxes (y0, y1, x0, x1) -> (cat, dog) say."""
    maps = np.zeros((3, 20, 20), dtype=np.float32)
    maps[2] = 1
    for (y0, y1, x0, x1), (cat, dog) in boxes.items():
        maps[:, y0:y1, x0:x1] = np.array([cat, dog, 1 - cat - dog])[:, None, None]
    return maps


def test_each_region_is_an_object_with_its_box():
    found = regions(drawn({(2, 8, 2, 6): (1, 0), (12, 18, 10, 18): (0, 1)}), NAMES)
    assert [(d.name, d.score, d.box) for d in found] == [
        ("cat", 1.0, (2, 2, 6, 8)),
        ("dog", 1.0, (10, 12, 18, 18)),
    ]


def test_score_is_the_share_of_votes_for_the_class_and_not_its_probability():
    maps = drawn({(2, 8, 2, 8): (0.6, 0.4), (8, 10, 2, 8): (0.3, 0.7)})
    (one,) = regions(maps, NAMES)
    assert one.name == "cat"
    assert one.score == pytest.approx(36 / 48)


def test_soft_outlines_do_not_vote():
    maps = drawn({(2, 10, 2, 10): (0.3, 0.5), (4, 8, 4, 8): (0.98, 0.0)})
    (one,) = regions(maps, NAMES)
    assert (one.name, one.score, one.box) == ("cat", 1.0, (2, 2, 10, 10))


def test_specks_are_no_objects():
    assert regions(drawn({(0, 1, 0, 3): (1, 0)}), NAMES) == []


def test_pictures_of_different_sizes_are_mapped_as_each_would_be_alone(starter_detector):
    rng = np.random.default_rng(0)
    sizes = [(64, 64), (48, 80), (64, 64)]
    pictures = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    together = probabilities(starter_detector.infer(pictures))
    assert [maps.shape for maps in together] == [(17, *size) for size in sizes]
    for picture, maps in zip(pictures, together, strict=True):
        (alone,) = probabilities(starter_detector.infer([picture]))
        np.testing.assert_allclose(maps, alone, atol=1e-5)


def test_objects_are_the_same_wherever_the_batch_is_cut(starter_detector):
    rng = random.Random(3)
    pictures = [scene_picture(sample_facts(rng)) for _ in range(5)]
    together = starter_detector.detect(pictures)
    alone = [found for picture in pictures for found in starter_detector.detect([picture])]
    assert all(together)
    assert [[(d.name, d.box) for d in found] for found in together] == [
        [(d.name, d.box) for d in found] for found in alone
    ]


def test_a_detector_without_background_is_refused(tmp_path):
    folder = tmp_path / "detector"
    shutil.copytree(STARTER_WEIGHTS / "detector", folder)
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"background"', '"nothing"'))
    with pytest.raises(ModelError, match='one class must be named "background"'):
        SegformerDetector.load(folder, batch_size=1)


def test_a_detector_of_another_kind_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "detr"}')
    with pytest.raises(ModelError, match="holds a 'detr'"):
        load_detector(tmp_path, batch_size=1)
