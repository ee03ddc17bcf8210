"""How much of the truth a caption tells, counted by hand."""

import pytest

from uae.data.facts import ObjectFact, SceneFacts
from uae.data.starter.attributes import (
    attribute_precision,
    attribute_recall,
    quoted_texts,
    text_fidelity,
)

BOX = (0, 0, 8, 8)
CAT = ObjectFact("cat", "red", "large", "top left", BOX)
DOG = ObjectFact("dog", "blue", "small", "center", BOX)
SCENE = SceneFacts((CAT, DOG), "gray", None)  # 2 x 4 attributes and the background


@pytest.mark.parametrize(
    ("caption", "told"),
    [
        ("a large red cat at the top left, a small blue dog in the center, gray background", 9),
        ("a cat, a dog", 2),
        ("a blue cat, a red dog", 2),  # colours bound to the wrong objects
        ("a red cat and a blue dog", 1),  # one clause tells one object, two colours tell none
        ("a red blue green cat", 1),  # hedging is not telling
        ("something red, something blue", 0),
        ("gray background", 1),
        ("", 0),
    ],
)
def test_recall_counts_attributes_bound_to_their_object(caption, told):
    assert attribute_recall(caption, SCENE) == pytest.approx(told / 9)


@pytest.mark.parametrize(
    ("caption", "told", "stated"),
    [
        ("a large red cat at the top left, gray background", 5, 5),
        ("a blue cat, a small blue dog", 4, 5),
        ("a red blue green cat", 1, 4),
        ("two cats", 1, 2),  # there is one
        ("a bird, a fish, tan background", 0, 3),
        ('a cat, the word "KEY"', 1, 2),  # no word is there, and no key is stated
    ],
)
def test_precision_is_the_share_of_what_is_stated(caption, told, stated):
    assert attribute_precision(caption, SCENE) == pytest.approx(told / stated)


def test_precision_is_unknown_where_nothing_is_stated():
    assert attribute_precision("a picture", SCENE) is None


def test_naming_everything_is_not_precise():
    everything = ", ".join(
        f"a {size} {color} {name} at the {place}"
        for name in ("cat", "dog", "key")
        for color in ("red", "blue")
        for size in ("small", "large")
        for place in ("top left", "center")
    )
    assert attribute_recall(everything, SCENE) == pytest.approx(8 / 9)
    assert attribute_precision(everything, SCENE) < 0.1


def test_a_quoted_word_names_no_object():
    key = SceneFacts((ObjectFact("key", "red", "large", "top left", BOX),), "gray", "KEY")
    assert attribute_recall('the word "KEY"', key) == pytest.approx(1 / 6)


def test_a_counted_clause_serves_as_many_objects():
    twins = SceneFacts((CAT, CAT), "gray", None)
    assert attribute_recall("two red cats", twins) == pytest.approx(4 / 9)
    assert attribute_recall("a red cat", twins) == pytest.approx(2 / 9)


def test_classes_outside_the_starter_have_a_plain_plural():
    sofa = ObjectFact("sofa", "red", "large", "left", BOX)
    facts = SceneFacts((sofa, sofa), "gray", None)
    assert attribute_recall("two large sofas", facts) == pytest.approx(4 / 9)


def test_names_are_words_and_not_patterns():
    odd = SceneFacts((ObjectFact("c(t", "r.d", "*", "[", BOX),), "g+", None)
    assert attribute_recall("a red cat, gg background", odd) == 0


def test_word_is_told_only_in_quotes_and_exactly():
    facts = SceneFacts((), "gray", "SUN")
    assert attribute_recall('the word "SUN"', facts) == pytest.approx(1 / 2)
    assert attribute_recall("the word SUN", facts) == 0
    assert text_fidelity('the word "SUN"', facts) == 1
    assert text_fidelity('"SUN", "SEA"', facts) == 0
    assert text_fidelity("nothing", SCENE) is None
    assert quoted_texts('“SUN” and "SEA"') == ["SUN", "SEA"]
