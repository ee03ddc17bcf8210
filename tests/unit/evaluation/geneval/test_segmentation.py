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
from uae.evaluation.geneval.segmentation import SegformerDetector, regions


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


def regions_of(maps, names):
    """Return the regions of one picture's maps."""
    (found,) = regions(maps[None], names)
    return found


def test_each_region_is_an_object_with_its_box():
    found = regions_of(drawn({(2, 8, 2, 6): (1, 0), (12, 18, 10, 18): (0, 1)}), NAMES)
    assert [(d.name, d.score, d.box) for d in found] == [
        ("cat", 1.0, (2, 2, 6, 8)),
        ("dog", 1.0, (10, 12, 18, 18)),
    ]


def test_score_is_the_share_of_votes_for_the_class_and_not_its_probability():
    maps = drawn({(2, 8, 2, 8): (0.6, 0.4), (8, 10, 2, 8): (0.3, 0.7)})
    (one,) = regions_of(maps, NAMES)
    assert one.name == "cat"
    assert one.score == pytest.approx(36 / 48)


def test_soft_outlines_do_not_vote():
    maps = drawn({(2, 10, 2, 10): (0.3, 0.5), (4, 8, 4, 8): (0.98, 0.0)})
    (one,) = regions_of(maps, NAMES)
    assert (one.name, one.score, one.box) == ("cat", 1.0, (2, 2, 10, 10))


def test_pictures_of_a_batch_are_apart():
    touching = {(0, 20, 0, 4): (1, 0)}  # would be one region if pictures lay on each other
    maps = np.stack([drawn(touching), drawn({}), drawn(touching | {(2, 8, 8, 14): (0, 1)})])
    found = regions(maps, NAMES)
    assert [[d.name for d in of_one] for of_one in found] == [["cat"], [], ["cat", "dog"]]
    assert found[2][1].mask.sum() == 36
    assert found[0][0].mask.shape == (20, 20)


def test_specks_are_no_objects():
    assert regions_of(drawn({(0, 1, 0, 3): (1, 0)}), NAMES) == []


def test_pictures_of_different_sizes_are_looked_at_as_each_would_be_alone(starter_detector):
    rng = random.Random(4)
    square = [scene_picture(sample_facts(rng)) for _ in range(3)]
    wide = np.pad(square[1], ((0, 0), (8, 24), (0, 0)), mode="edge")
    pictures = [square[0], wide, square[2]]
    together = starter_detector.detect(pictures)
    assert all(together)
    assert [found[0].mask.shape for found in together] == [(64, 64), (64, 96), (64, 64)]
    for picture, found in zip(pictures, together, strict=True):
        (alone,) = starter_detector.detect([picture])
        assert [(d.name, d.box) for d in found] == [(d.name, d.box) for d in alone]


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
