"""How much of the truth a caption tells, counted by hand."""

import pytest

from uae.data.facts import ObjectFact, SceneFacts
from uae.data.starter.attributes import attribute_recall, quoted_texts, text_fidelity

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
        ("a red cat and a blue dog", 2),  # one clause tells one object, with the colour in it
        ("something red, something blue", 0),
        ("gray background", 1),
        ("", 0),
    ],
)
def test_recall_counts_attributes_bound_to_their_object(caption, told):
    assert attribute_recall(caption, SCENE) == pytest.approx(told / 9)


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
