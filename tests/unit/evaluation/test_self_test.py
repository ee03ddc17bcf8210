import pytest

from uae.errors import EvaluationError
from uae.evaluation.self_test import SelfTest


def test_accuracy_weighs_yes_and_no_equally():
    test = SelfTest("the judges")
    for answered in (True, True, True, False):  # 3 of 4 known yes
        test.add("color", expected=True, answered=answered)
    test.add("size", expected=False, answered=True)  # 0 of 1 known no
    assert test.accuracy == pytest.approx((3 / 4 + 0) / 2)
    assert test.to_json()["groups"] == {"color/yes": "3/4", "size/no": "0/1"}


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
