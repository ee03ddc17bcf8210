"""The self-test itself, with models that know everything, nothing, or all but one thing."""

import itertools

import numpy as np
import pytest

from uae.data.starter.prompts import scene_prompts
from uae.errors import EvaluationError
from uae.evaluation.geneval.base import Detector
from uae.evaluation.geneval.known_answers import (
    SHAPE_COLORS,
    SQUARE_SIDE,
    photographs_self_test,
    scenes_self_test,
    true_verdict,
)
from uae.evaluation.geneval.models import GenevalModels
from uae.evaluation.geneval.rules import Detection
from uae.evaluation.geneval.vocabulary import OFFICIAL_CLASSES, OFFICIAL_COLORS
from uae.evaluation.known_pictures import known_photographs

TASKS = {"single_object", "two_object", "counting", "colors", "position", "color_attr"}
BOX = (80, 80, 300, 300)  # of the one thing in each square


def middle(picture):
    """Return what tells the photographs' squares apart."""
    return picture[SQUARE_SIDE // 2, 100:300].tobytes()


def padded_middle(photograph):
    height, width = photograph.shape[:2]
    square = np.full((SQUARE_SIDE, SQUARE_SIDE, 3), 0x99, dtype=np.uint8)
    y, x = (SQUARE_SIDE - height) // 2, (SQUARE_SIDE - width) // 2
    square[y : y + height, x : x + width] = photograph
    return middle(square)


class Viewer(Detector):
    """Knows the photographs, square by square; says `lie` of everything where that is given."""

    classes = OFFICIAL_CLASSES
    batch_size = 4

    def __init__(self, *, lie=None, score=0.95):
        self.names = {padded_middle(k.picture): k.classes[0] for k in known_photographs()}
        self.identity = {"kind": "viewer"}
        self.lie, self.score = lie, score
        self.sizes = []

    def infer(self, pictures):
        assert len({picture.shape for picture in pictures}) == 1  # nothing is padded
        self.sizes.append(len(pictures))
        return list(pictures)

    def objects(self, output):
        return [self._objects(picture) for picture in output]

    def _objects(self, picture):
        found = []
        places = itertools.product(*(range(0, side, SQUARE_SIDE) for side in picture.shape[:2]))
        for y, x in places:
            name = self.lie or self.names[middle(picture[y:, x : x + SQUARE_SIDE])]
            x0, y0, x1, y1 = BOX
            found.append(Detection(name, self.score, (x0 + x, y0 + y, x1 + x, y1 + y)))
        return found


class Palette:
    """Names the colour of what is inside the mask; `blind` says red of everything."""

    colors = OFFICIAL_COLORS

    def __init__(self, *, blind=False):
        self.identity = {"kind": "palette"}
        self.blind = blind
        self.names = {rgb: name for name, rgb in SHAPE_COLORS.items()}

    def classify(self, objects):
        return [
            "red" if self.blind else self.names[tuple(picture[d.mask][0].tolist())]
            for picture, d in objects
        ]


def test_scenes_pass_those_who_know_and_fail_the_blind(scenes, oracle_models):
    pairs = scene_prompts(scenes, 24)
    assert all(true_verdict(prompt, facts) for prompt, facts in pairs)
    assert scenes_self_test(oracle_models(scenes), pairs).accuracy == 1.0
    blind = scenes_self_test(oracle_models(scenes, blind=True), pairs)
    assert blind.accuracy == 0.5  # right on every "no"
    with pytest.raises(EvaluationError, match=r"50\.0%.*90\.0% is required.*counting/yes"):
        blind.require(0.9)


def test_photographs_pass_those_who_know():
    viewer = Viewer()
    test = photographs_self_test(GenevalModels(viewer, Palette()), TASKS)
    assert test.accuracy == 1.0
    groups = test.to_json()["groups"]
    assert {name.partition("/")[0] for name in groups} == TASKS
    assert groups["counting/yes"] == "2/2"  # the cat and the person
    assert groups["position/yes"] == groups["position/no"] == "12/12"
    assert groups["colors/yes"] == groups["color_attr/no"] == "10/10"
    # 3 alone, and side by side: 3 + 3 pairs, 3 with themselves, 2 of these again for counting
    assert sum(viewer.sizes) == 3 + (3 + 3 + 2 + 3) + 3


def test_only_what_the_prompts_ask_for_is_tested_and_always_that_objects_are_found():
    models = GenevalModels(Viewer(), Palette())
    groups = photographs_self_test(models, {"colors"}).to_json()["groups"]
    assert {name.partition("/")[0] for name in groups} == {"single_object", "colors"}


@pytest.mark.parametrize("task", sorted(TASKS - {"colors", "color_attr"}))
def test_a_detector_that_sees_one_thing_everywhere_fails(task):
    models = GenevalModels(Viewer(lie="clock"), Palette())
    with pytest.raises(EvaluationError, match="self-test failed"):
        photographs_self_test(models, {task}).require(0.9)


def test_a_detector_that_is_never_sure_fails_at_counting_alone():
    test = photographs_self_test(GenevalModels(Viewer(score=0.89), Palette()), TASKS)
    accuracies = {task: test.group_accuracy(task) for task in TASKS}
    assert accuracies == {task: 0.5 if task == "counting" else 1.0 for task in TASKS}


def test_a_detector_that_finds_nothing_fails_whatever_is_asked():
    models = GenevalModels(Viewer(score=0.3), Palette())
    with pytest.raises(EvaluationError, match="single_object"):
        photographs_self_test(models, {"colors"}).require(0.9)


def test_a_classifier_that_always_says_red_fails_at_colors():
    test = photographs_self_test(GenevalModels(Viewer(), Palette(blind=True)), TASKS)
    # right: the red disc; and of the "no" cases all but the white disc that is asked to be red
    assert test.to_json()["groups"]["colors/yes"] == "1/10"
    assert test.to_json()["groups"]["colors/no"] == "9/10"
    assert test.to_json()["groups"]["color_attr/yes"] == "0/10"
    with pytest.raises(EvaluationError, match="self-test failed"):
        test.require(0.9)
