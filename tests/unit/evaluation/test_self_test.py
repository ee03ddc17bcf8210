import pytest

from uae.errors import EvaluationError
from uae.evaluation.self_test import SelfTest


def test_accuracy_weighs_groups_and_in_them_yes_and_no_equally():
    test = SelfTest("the judges")
    for answered in (True, True, True, False):  # 3 of 4 known yes
        test.add("color", expected=True, answered=answered)
    test.add("color", expected=False, answered=True)  # 0 of 1 known no
    test.add("size", expected=False, answered=False)
    assert test.group_accuracy("color") == pytest.approx(3 / 8)
    assert test.accuracy == pytest.approx((3 / 8 + 1) / 2)
    assert test.to_json()["groups"] == {"color/yes": "3/4", "color/no": "0/1", "size/no": "1/1"}


def test_one_dead_group_fails_though_the_average_is_good():
    test = SelfTest("the judges")
    for group in ("count", "place", "class", "color"):
        test.add(group, expected=True, answered=group != "color")  # no colour is ever right
        test.add(group, expected=False, answered=False)
    assert test.accuracy == pytest.approx(7 / 8)
    with pytest.raises(EvaluationError, match=r"50\.0% of known pictures in 'color'"):
        test.require(0.8)


@pytest.mark.parametrize(("minimum", "passes"), [(0.5, True), (0.501, False)])
def test_exactly_the_minimum_passes(minimum, passes):
    test = SelfTest("the judges")
    test.add("a", expected=True, answered=True)
    test.add("a", expected=False, answered=True)
    if passes:
        test.require(minimum)
    else:
        with pytest.raises(EvaluationError, match="the judges agree with the truth on"):
            test.require(minimum)


def test_only_one_kind_known_counts_alone():
    test = SelfTest("the judges")
    test.add("a", expected=True, answered=True)
    assert test.accuracy == 1.0
