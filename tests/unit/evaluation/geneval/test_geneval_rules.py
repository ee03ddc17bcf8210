"""GenEval's rules on detections made by hand; no model is involved."""

import numpy as np
import pytest

from uae.data.geneval import Exclude, Include, Prompt, relative_position
from uae.evaluation.geneval.rules import (
    MAX_OBJECTS_PER_CLASS,
    Detection,
    judge,
    keep_objects,
    mask_box,
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


def test_thresholds_are_compared_in_single_precision():
    # a detector's score is a float32: 0.3 becomes 0.30000001 when it is read as a float
    assert float(np.float32(0.3)) > 0.3
    assert not verdict([cat(float(np.float32(0.3)))], ONE_CAT).correct
    above = float(np.nextafter(np.float32(0.3), np.float32(1)))
    assert verdict([cat(above)], ONE_CAT).correct


def test_counting_does_not_see_what_other_tasks_see():
    unsure = [cat(0.95), cat(0.95), cat(0.5)]
    assert verdict(unsure, TWO_CATS).correct  # the third is no cat for counting
    assert len(keep_objects(unsure, "two_object")["cat"]) == 3


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


def test_seventeen_objects_count_as_sixteen():
    row = [cat(0.95, (10 * i, 0, 10 * i + 10, 10)) for i in range(17)]
    at_least = Prompt("counting", "17 cats", (Include("cat", 17),))
    assert verdict(row, at_least) == (False, ["expected cat>=17, found 16"])
    not_more = Prompt("counting", "16 cats", (Include("cat", 16),), (Exclude("cat", 17),))
    assert verdict(row, not_more).correct
    assert not verdict(row[:15], not_more).correct


def test_sixteen_is_of_each_class():
    many = [cat(0.95)] * 17 + [dog(0.95)] * 17
    assert {name: len(kept) for name, kept in keep_objects(many, "counting").items()} == {
        "cat": 16,
        "dog": 16,
    }


def test_equal_scores_keep_their_order():
    first, second = cat(0.8, color="red"), cat(0.8, color="blue")
    assert keep_objects([first, second], "colors")["cat"] == [first, second]


def test_color_is_read_from_the_most_confident_object_only():
    blue, red = cat(0.9, color="blue"), cat(0.8, color="red")
    result = verdict([red, blue], RED_CAT)
    assert result == (False, ["expected red cat>=1, found blue"])
    assert verdict([cat(0.9, color="red"), cat(0.8, color="blue")], RED_CAT).correct


def test_each_of_the_counted_objects_must_have_the_color():
    two_red = Prompt("colors", "two red cats", (Include("cat", 2, "red"),))
    red, blue = cat(0.9, color="red"), cat(0.8, color="blue")
    assert verdict([red, blue, cat(0.7, color="red")], two_red) == (
        False,
        ["expected red cat>=2, found red, blue"],
    )
    assert verdict([red, cat(0.85, color="red"), blue], two_red).correct


def test_two_colors_belong_to_their_objects():
    both = Prompt("color_attr", "", (Include("cat", 1, "red"), Include("dog", 1, "blue")))
    assert verdict([cat(color="red"), dog(color="blue")], both).correct
    swapped = verdict([cat(color="blue"), dog(color="red")], both)
    assert swapped.reasons == ["expected red cat>=1, found blue", "expected blue dog>=1, found red"]


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


@pytest.mark.parametrize(
    ("shift", "relations"),
    [
        ((4, 0), set()),
        ((4.01, 0), {"right of"}),
        ((-4, 0), set()),
        ((-4.01, 0), {"left of"}),
        ((0, 4), set()),
        ((0, 4.01), {"below"}),
        ((0, -4), set()),
        ((0, -4.01), {"above"}),
        ((2, 0), set()),  # exactly the margin
        ((0, 0), set()),
    ],
)
def test_the_ratio_of_a_half_is_strict_on_each_side(shift, relations):
    # (4 - 2) / 4 is exactly 0.5
    x, y = shift
    assert relative_position((x, y, x + 10, y + 10), (0, 0, 10, 10)) == relations


def test_the_offset_that_divides_is_the_whole_one():
    # offset (30, 40) of length 50; shortened by 2 each: 28 / 50 and 38 / 50 are both above a half
    assert relative_position((30, 40, 40, 50), (0, 0, 10, 10)) == {"right of", "below"}
    # offset (15, 20) of length 25: 13 / 25 and 18 / 25, but (12, 20): 10 / 23.3 is not
    assert relative_position((15, 20, 25, 30), (0, 0, 10, 10)) == {"right of", "below"}
    assert relative_position((12, 20, 22, 30), (0, 0, 10, 10)) == {"below"}


def test_extents_of_both_boxes_shorten_the_offset_on_their_own_axis():
    # widths 40 and 20, heights 10 and 10: margins 6 and 2
    target = (0, 0, 20, 10)
    assert relative_position((2, 0, 42, 10), target) == set()  # offset 12: (12 - 6) / 12
    assert relative_position((3, 0, 43, 10), target) == {"right of"}  # offset 13: 7 / 13


def test_a_remainder_below_a_thousandth_of_a_pixel_is_none():
    assert relative_position((2.0009, 0, 12.0009, 10), (0, 0, 10, 10)) == set()


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


def test_position_needs_every_target():
    two = Prompt("position", "", (Include("cat", 2), Include("dog", 1, None, "right of", 0)))
    near, far = cat(0.9), cat(0.8, box=(100, 0, 110, 10))
    assert verdict([near, cat(0.8, box=(0, 20, 10, 30)), dog()], two).correct
    assert verdict([near, far, dog()], two).reasons == [
        "expected dog right of target, found left of target"
    ]


def test_a_target_of_the_wrong_color_is_no_target():
    prompt = Prompt(
        "position", "", (Include("cat", 1, "red"), Include("dog", 1, None, "right of", 0))
    )
    assert verdict([cat(color="red"), dog()], prompt).correct
    assert verdict([cat(color="blue"), dog()], prompt).reasons == [
        "expected red cat>=1, found blue",
        "no target for dog to be right of",
    ]


def test_the_wrong_color_hides_the_wrong_place():
    prompt = Prompt("position", "", (Include("cat", 1), Include("dog", 1, "red", "left of", 0)))
    assert verdict([cat(), dog(color="blue")], prompt).reasons == [
        "expected red dog>=1, found blue"
    ]


def test_too_few_targets_are_no_target():
    prompt = Prompt("position", "", (Include("cat", 2), Include("dog", 1, None, "right of", 0)))
    assert verdict([cat(), dog()], prompt).reasons == [
        "expected cat>=2, found 1",
        "no target for dog to be right of",
    ]


def test_position_without_its_target_says_so():
    assert verdict([dog()], DOG_RIGHT).reasons == [
        "expected cat>=1, found 0",
        "no target for dog to be right of",
    ]


def test_exclude_counts_what_include_ignores():
    no_dog = Prompt("single_object", "a cat, no dog", (Include("cat", 1),), (Exclude("dog", 1),))
    assert verdict([cat()], no_dog).correct
    assert verdict([cat(), dog()], no_dog) == (False, ["expected dog<1, found 1"])


@pytest.mark.parametrize(("number", "right"), [(1, True), (2, False), (3, False)])
def test_exclude_fails_at_exactly_its_count(number, right):
    prompt = Prompt("two_object", "", (Include("dog", 1),), (Exclude("cat", 2),))
    assert verdict([dog(), *[cat()] * number], prompt).correct is right


def test_exclude_counts_only_what_is_above_the_tasks_threshold():
    prompt = Prompt("counting", "", (Include("cat", 1),), (Exclude("dog", 1),))
    assert verdict([cat(), dog(0.9)], prompt).correct
    assert not verdict([cat(), dog(0.91)], prompt).correct


def test_the_box_of_a_mask_is_the_tightest():
    mask = np.zeros((5, 7), dtype=np.bool_)
    mask[1, 2] = mask[3, 4] = True
    assert mask_box(mask) == (2.0, 1.0, 5.0, 4.0)
