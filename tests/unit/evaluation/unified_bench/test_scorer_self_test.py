import numpy as np
import pytest
import torch

from uae.data.starter.vocabulary import STARTER_WEIGHTS
from uae.errors import EvaluationError
from uae.evaluation.unified_bench.scorers import EFFICIENTNET, SlotScorer, load_scorer_slot
from uae.evaluation.unified_bench.self_test import (
    NUM_SCENES,
    check_scorers,
    self_test,
    self_test_pictures,
    slightly_changed,
)


class Counted(SlotScorer):
    """Features by a function of a picture."""

    def __init__(self, of):
        super().__init__("s", lambda p: torch.tensor([of(x) for x in p]).float(), {})


def checked(of, pictures):
    return self_test({"s": Counted(of)}, pictures, batch_size=4)


def flat(*values):
    return [np.full((8, 8, 3), value, dtype=np.uint8) for value in values]


def test_a_copy_is_a_little_darker_and_a_little_aside():
    picture = np.zeros((2, 64, 3), dtype=np.uint8)
    picture[:, 10] = 100
    copy = slightly_changed(picture)
    assert copy[:, 11].max() == 95
    assert copy[:, 10].max() == 0
    assert slightly_changed(np.zeros((9, 384, 3), dtype=np.uint8)).shape == (9, 384, 3)


def test_a_scorer_that_sees_brightness_passes():
    check = checked(lambda p: [p.mean(), 50.0], flat(20, 120, 240))
    assert check.to_json()["groups"] == {"s/yes": "3/3", "s/no": "3/3"}


def test_one_feature_for_everything_fails():
    check = checked(lambda p: [1.0, 2.0], flat(20, 120, 240))
    assert check.accuracy == 0
    with pytest.raises(EvaluationError, match="'s'"):
        check.require(0.5)


def test_a_picture_that_is_not_like_itself_fails():
    rng = np.random.default_rng(0)
    check = checked(lambda p: [p.mean() + rng.normal(0, 40), 50.0], flat(20, 120, 240))
    assert check.to_json()["groups"]["s/yes"] != "3/3"


def test_known_pictures_are_scenes_and_photographs(data):
    pictures = self_test_pictures(data)
    assert {picture.shape for picture in pictures[:NUM_SCENES]} == {(64, 64, 3)}
    assert len({picture.shape for picture in pictures[NUM_SCENES:]}) > 1
    assert len(pictures) >= NUM_SCENES + 3


def test_the_shipped_scorers_pass(context, recipe_with):
    strict = context(judging=recipe_with(min_self_test_accuracy=0.95, batch_size=16).evaluation)
    names = ("clip", "longclip", "ssl", EFFICIENTNET)
    scorers = {name: load_scorer_slot(name, STARTER_WEIGHTS) for name in names}
    assert check_scorers(scorers, strict)["accuracy"] >= 0.95
