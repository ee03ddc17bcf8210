"""What the judge's training head is told about a question's subject."""

import random

from uae.base_weights.claim_subjects import MAX_NUMBER, NUM_TRUTHS, UNASKED, subject_truths
from uae.data.facts import SceneFacts
from uae.data.starter.scenes import place_object
from uae.data.starter.vocabulary import BACKGROUNDS, COLORS, PLACES, SIZES, WORDS
from uae.evaluation.claims import Claim


def _scene() -> SceneFacts:
    rng = random.Random(0)
    things = (("cat", "red", "small", "top left"), ("cat", "blue", "small", "top right"))
    return SceneFacts(tuple(place_object(rng, *thing) for thing in things), "tan", "SUN")


def test_truths_of_a_class_by_hand():
    truths = subject_truths(Claim("color", "green", "cat"), _scene())
    values = [*PLACES, *COLORS, *SIZES]
    told = dict(zip(values, truths, strict=False))
    true = {"top left", "top right", "red", "blue", "small"}
    assert {value for value, truth in told.items() if truth == 1} == true
    assert truths[len(values) : len(values) + MAX_NUMBER] == [1, 1, 0, 0]
    assert set(truths[len(values) + MAX_NUMBER :]) == {UNASKED}


def test_truths_of_an_absent_class_are_all_false():
    truths = subject_truths(Claim("entity", "dog"), _scene())
    assert set(truths[: len(PLACES) + len(COLORS) + len(SIZES) + MAX_NUMBER]) == {0}


def test_truths_of_the_picture():
    background = subject_truths(Claim("background", "white"), _scene())
    word = subject_truths(Claim("word", "SEA"), _scene())
    assert len(background) == len(word) == NUM_TRUTHS
    start = NUM_TRUTHS - len(WORDS) - len(BACKGROUNDS)
    assert background[start : start + len(BACKGROUNDS)] == [b == "tan" for b in BACKGROUNDS]
    assert word[-len(WORDS) :] == [w == "SUN" for w in WORDS]
    assert set(background[-len(WORDS) :]) == {UNASKED}
