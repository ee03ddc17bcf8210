"""Confusion matrices and ROC curves, counted by hand and against scikit-learn."""

import json
import random

import numpy as np
import pytest
from sklearn.metrics import auc, confusion_matrix, roc_auc_score

from uae.data.geneval import Include, Prompt
from uae.evaluation.classification import (
    MAX_ROC_POINTS,
    NOT_FOUND,
    colors_asked_and_seen,
    roc_curve,
    yes_no_confusion,
)
from uae.evaluation.geneval.rules import Detection

COLORS = ("red", "green", "blue")
BOX = (0.0, 0.0, 1.0, 1.0)


def prompt(*wanted):
    return Prompt("colors", "any", tuple(Include(*one) for one in wanted))


def found(*objects):
    of_class = {}
    for name, color in objects:
        of_class.setdefault(name, []).append(Detection(name, 0.9, BOX, color=color))
    return of_class


def test_colors_are_counted_by_hand():
    prompts = [
        prompt(("cat", 1, "red")),
        prompt(("cat", 2, "red")),
        prompt(("cat", 1, "blue"), ("dog", 1, "green")),
        prompt(("cat", 1)),  # asks for no colour
    ]
    objects = [
        found(("cat", "red"), ("cat", None)),  # the second one was never asked about
        found(("cat", "red"), ("cat", "blue")),
        found(("dog", "green")),  # no cat
        found(("cat", None)),
    ]
    confusion = colors_asked_and_seen(prompts, objects, COLORS)
    assert confusion.categories == ["red", "green", "blue", NOT_FOUND]
    assert confusion.matrix == [[2, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]]


def test_two_asked_and_one_found_is_not_found_twice():
    confusion = colors_asked_and_seen([prompt(("cat", 2, "green"))], [found(("cat", None))], COLORS)
    assert confusion.matrix[1] == [0, 0, 0, 2]


def test_nothing_to_show_shows_nothing_and_not_found_stands_only_where_it_is_needed():
    assert colors_asked_and_seen([prompt(("cat", 1))], [found()], COLORS) is None
    confusion = colors_asked_and_seen([prompt(("cat", 1, "red"))], [found(("cat", "red"))], COLORS)
    assert confusion.categories == list(COLORS)
    assert confusion.matrix == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]


def test_yes_and_no_agree_with_scikit_learn():
    rng = random.Random(1)
    known = [rng.random() < 0.4 for _ in range(200)]
    answered = [rng.random() < 0.6 for _ in range(200)]
    shown = yes_no_confusion(known, answered)
    assert shown.categories == ["yes", "no"]
    assert shown.matrix == confusion_matrix(known, answered, labels=[True, False]).tolist()


def test_roc_is_worked_by_hand():
    # falling: yes 0.9, no 0.8, yes 0.6, no 0.1; "yes" is what lies above the threshold
    curve = roc_curve([True, True, False, False], [0.9, 0.6, 0.8, 0.1])
    assert curve.thresholds == [1.0, 0.9, 0.8, 0.6, 0.1, 0.0]
    assert curve.true_positive_rate == [0, 0, 0.5, 0.5, 1, 1]
    assert curve.false_positive_rate == [0, 0, 0, 0.5, 0.5, 1]


@pytest.mark.parametrize("digits", [1, 6])  # with many ties, and with next to none
def test_area_under_the_curve_agrees_with_scikit_learn(digits):
    rng = random.Random(2)
    known = [rng.random() < 0.5 for _ in range(90)]
    p_yes = [round(min(1.0, max(0.0, 0.5 * k + 0.7 * rng.random())), digits) for k in known]
    curve = roc_curve(known, p_yes)
    area = auc(curve.false_positive_rate, curve.true_positive_rate)
    assert area == pytest.approx(roc_auc_score(known, p_yes))


def test_a_long_curve_is_thinned_and_keeps_its_ends():
    rng = np.random.default_rng(0)
    known = (rng.random(3000) < 0.5).tolist()
    p_yes = np.clip(0.4 * np.array(known) + 0.6 * rng.random(3000), 0, 1).tolist()
    curve = roc_curve(known, p_yes)
    assert len(curve.thresholds) == MAX_ROC_POINTS
    ends = (curve.false_positive_rate[0], curve.true_positive_rate[0])
    assert ends == (0, 0)
    assert (curve.false_positive_rate[-1], curve.true_positive_rate[-1]) == (1, 1)
    area = auc(curve.false_positive_rate, curve.true_positive_rate)
    assert area == pytest.approx(roc_auc_score(known, p_yes), abs=2e-3)
    assert json.loads(json.dumps(curve._asdict(), allow_nan=False)) == curve._asdict()


def test_a_curve_ends_at_one_even_where_a_probability_is_zero():
    curve = roc_curve([True, False], [1.0, 0.0])
    assert (curve.false_positive_rate[-1], curve.true_positive_rate[-1]) == (1, 1)
    assert curve.thresholds == sorted(curve.thresholds, reverse=True)


@pytest.mark.parametrize("known", [[True, True], [False], []])
def test_without_both_answers_there_is_no_curve(known):
    assert roc_curve(known, [0.5] * len(known)) is None
