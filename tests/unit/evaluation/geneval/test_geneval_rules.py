"""GenEval's rules on detections made by hand; no model is involved."""

import pytest

from uae.data.geneval import Exclude, Include, Prompt, relative_position
from uae.evaluation.geneval.rules import (
    MAX_OBJECTS_PER_CLASS,
    Detection,
    judge,
    keep_objects,
    needs_color,
    with_colors,
)


def cat(score=0.95, box=(0, 0, 10, 10), color=None):
    return Detection("cat", score, box, color=color)


def dog(score=0.95, box=(50, 0, 60, 10), color=None):
    return Detection("dog", score, box, color=color)


def verdict(detections, prompt):
    return judge(keep_objects(detections, prompt.tag), prompt)


ONE_CAT = Prompt("single_object", "a cat", (Include("cat", 1),))
CAT_AND_DOG = Prompt("two_object", "a cat, a dog", (Include("cat", 1), Include("dog", 1)))
TWO_CATS = Prompt("counting", "two cats", (Include("cat", 2),), (Exclude("cat", 3),))
RED_CAT = Prompt("colors", "a red cat", (Include("cat", 1, "red"),))
DOG_RIGHT = Prompt(
    "position", "a dog right of a cat", (Include("cat", 1), Include("dog", 1, None, "right of", 0))
)


@pytest.mark.parametrize(("score", "found"), [(0.3, False), (0.3001, True)])
def test_a_score_at_the_threshold_is_dropped(score, found):
    assert verdict([cat(score)], ONE_CAT).correct is found


@pytest.mark.parametrize(("score", "found"), [(0.9, False), (0.9001, True)])
def test_counting_has_a_threshold_of_its_own(score, found):
    assert verdict([cat(score), cat(score)], TWO_CATS).correct is found


def test_nothing_detected_is_wrong_and_says_so():
    result = verdict([], ONE_CAT)
    assert result == (False, ["expected cat>=1, found 0"])


def test_more_than_asked_is_right_unless_excluded():
    assert verdict([cat(), cat()], ONE_CAT).correct
    assert verdict([cat(), cat()], TWO_CATS).correct


@pytest.mark.parametrize(
    ("number", "reason"),
    [(1, "expected cat>=2, found 1"), (3, "expected cat<3, found 3")],
)
def test_count_under_and_over(number, reason):
    assert verdict([cat()] * number, TWO_CATS) == (False, [reason])


def test_overlapping_boxes_are_not_suppressed():
    assert verdict([cat(box=(0, 0, 10, 10)), cat(box=(0, 0, 10, 10))], TWO_CATS).correct


def test_every_missing_class_is_a_reason():
    assert verdict([], CAT_AND_DOG).reasons == [
        "expected cat>=1, found 0",
        "expected dog>=1, found 0",
    ]
    assert verdict([cat(), dog()], CAT_AND_DOG).correct


def test_at_most_sixteen_objects_of_a_class_are_kept_the_most_confident():
    many = [cat(0.4 + 0.01 * index) for index in range(20)]
    kept = keep_objects(many, "two_object")["cat"]
    assert len(kept) == MAX_OBJECTS_PER_CLASS
    assert [kept[0].score, kept[-1].score] == pytest.approx([0.59, 0.44])


def test_color_is_read_from_the_most_confident_object_only():
    blue, red = cat(0.9, color="blue"), cat(0.8, color="red")
    result = verdict([red, blue], RED_CAT)
    assert result == (False, ["expected red cat>=1, found blue"])
    assert verdict([cat(0.9, color="red"), cat(0.8, color="blue")], RED_CAT).correct


def test_colors_are_asked_for_only_where_a_rule_reads_them():
    objects = keep_objects([cat(0.9), cat(0.8), dog(0.7)], "colors")
    assert [d.score for d in needs_color(objects, RED_CAT)] == [0.9]
    two_red = Prompt("colors", "three red cats", (Include("cat", 3, "red"),))
    assert needs_color(objects, two_red) == []  # too few: the count decides


def test_filling_in_colors_touches_only_what_was_classified():
    first, second = cat(0.9), cat(0.8)
    objects = with_colors({"cat": [first, second]}, {id(first): "red"})
    assert [d.color for d in objects["cat"]] == ["red", None]


def test_unclassified_color_is_our_own_bug():
    with pytest.raises(ValueError, match="needs_color"):
        verdict([cat()], RED_CAT)


@pytest.mark.parametrize(
    ("box", "relations"),
    [
        ((50, 0, 60, 10), {"left of"}),
        ((-50, 0, -40, 10), {"right of"}),
        ((0, 50, 10, 60), {"above"}),
        ((0, -50, 10, -40), {"below"}),
        ((50, 50, 60, 60), {"left of", "above"}),
        ((0, 0, 10, 10), set()),
    ],
)
def test_position_of_a_box_at_the_origin_as_seen_from_another(box, relations):
    assert relative_position((0, 0, 10, 10), box) == relations


def test_a_shift_within_a_tenth_of_both_extents_is_no_relation():
    # widths 10 and 10: a tenth of both is 2, so a shift of 2 leaves nothing and one of 3 leaves 1,
    # which divided by the plain offset of 3 is below a half; 5 leaves 3 of 5
    assert relative_position((2, 0, 12, 10), (0, 0, 10, 10)) == set()
    assert relative_position((3, 0, 13, 10), (0, 0, 10, 10)) == set()
    assert relative_position((5, 0, 15, 10), (0, 0, 10, 10)) == {"right of"}


def test_exactly_a_half_is_no_relation():
    # shift 4, a tenth of both extents 2: (4 - 2) / 4 is exactly 0.5, and the rule is strict
    assert relative_position((4, 0, 14, 10), (0, 0, 10, 10)) == set()


def test_position_needs_every_found_object_against_every_target():
    assert verdict([cat(), dog()], DOG_RIGHT).correct
    wrong = verdict([cat(), dog(box=(-60, 0, -50, 10))], DOG_RIGHT)
    assert wrong == (False, ["expected dog right of target, found left of target"])
    close = verdict([cat(), dog(box=(0, 0, 10, 10))], DOG_RIGHT)
    assert not close.correct
    two = Prompt(
        "position",
        "two dogs right of a cat",
        (Include("cat", 1), Include("dog", 2, None, "right of", 0)),
    )
    assert verdict([cat(), dog(0.9), dog(0.8, box=(50, 20, 60, 30))], two).correct
    assert not verdict([cat(), dog(0.9), dog(0.8, box=(-60, 0, -50, 10))], two).correct


def test_position_looks_only_at_the_most_confident():
    left_but_unsure = dog(0.5, box=(-60, 0, -50, 10))
    assert verdict([cat(), dog(0.9), left_but_unsure], DOG_RIGHT).correct


def test_position_without_its_target_says_so():
    assert verdict([dog()], DOG_RIGHT).reasons == [
        "expected cat>=1, found 0",
        "no target for dog to be right of",
    ]


def test_exclude_counts_what_include_ignores():
    no_dog = Prompt("single_object", "a cat, no dog", (Include("cat", 1),), (Exclude("dog", 1),))
    assert verdict([cat()], no_dog).correct
    assert verdict([cat(), dog()], no_dog) == (False, ["expected dog<1, found 1"])
