import numpy as np
import pytest

from uae.evaluation.dpg_bench.rules import Item, Question
from uae.evaluation.dpg_bench.samples import (
    category_parts,
    judged_sample,
    missing_sample,
)
from uae.evaluation.judges.base import JudgeError

ITEM = Item(
    "a",
    "a red cat",
    (
        Question(1, "A cat?", "entity - whole (cat)"),
        Question(2, "Red?", "attribute - color (cat, red)", (1,)),
        Question(3, "Small?", "attribute - size (cat, small)", (1,)),
    ),
)
YES, NO = 0.9, 0.1


def crops(*answers):
    return [dict(enumerate(of_crop, start=1)) for of_crop in answers]


def test_the_evidence_holds_every_answer_before_and_after_the_rule():
    answers = crops((YES, YES, YES), (NO, YES, YES), (YES, NO, YES), (YES, YES, NO))
    sample = judged_sample(ITEM, answers, "fixed", seed=0)
    assert (sample.state, sample.score) == ("scored", pytest.approx((1 + 0 + 2 / 3 + 2 / 3) / 4))
    assert sample.images == {"grid": "images/a.png"}
    assert sample.evidence["scores"] == {
        "picture 0": 1.0,
        "picture 1": 0.0,
        "picture 2": pytest.approx(2 / 3),
        "picture 3": pytest.approx(2 / 3),
    }
    assert sample.evidence["questions"][1] == {
        "number": 2,
        "question": "Red?",
        "tuple": "attribute - color (cat, red)",
        "parents": [1],
        "p_yes": [YES, YES, NO, YES],
        "answers": [True, False, False, True],
    }


def test_exactly_one_half_is_no():
    half, above = 0.5, np.nextafter(0.5, 1)
    sample = judged_sample(ITEM, crops(*[(above, half, above)] * 4), "fixed", seed=0)
    assert [q["answers"][0] for q in sample.evidence["questions"]] == [True, False, True]
    assert sample.score == pytest.approx(2 / 3)


@pytest.mark.parametrize("protocol", ["fixed", "official"])
def test_one_failed_answer_leaves_the_item_open_and_keeps_the_others(protocol):
    answers = crops(*[(YES, YES, YES)] * 4)
    answers[2][2] = JudgeError("timeout")
    answers[3][2] = JudgeError("refused")
    sample = judged_sample(ITEM, answers, protocol, seed=0)
    assert (sample.state, sample.score) == ("judge_error", None)
    assert sample.reason == "picture 2, question 2: timeout (2 answers failed)"
    assert sample.evidence["scores"] == {}
    assert sample.evidence["questions"][1]["p_yes"] == [YES, YES, None, None]
    assert sample.evidence["questions"][1]["answers"] == [None] * 4


def test_a_missing_item_has_questions_without_answers():
    sample = missing_sample(ITEM, "picture 1: refused", seed=0)
    assert (sample.state, sample.score, sample.reason) == ("missing", None, "picture 1: refused")
    assert sample.images == {}
    assert [q["p_yes"] for q in sample.evidence["questions"]] == [[None] * 4] * 3


def test_categories_worked_by_hand():
    answers = crops((YES, YES, YES), (YES, YES, YES), (YES, NO, YES), (NO, YES, NO))
    samples = [judged_sample(ITEM, answers, "fixed", seed=0), missing_sample(ITEM, "", seed=0)]
    broad, detailed = category_parts(samples, "fixed", 10, 0)
    assert {name: part.score for name, part in detailed.items()} == {
        "attribute - color": 2 / 4,
        "attribute - size": 3 / 4,
        "entity - whole": 3 / 4,
    }
    assert {name: part.score for name, part in broad.items()} == {
        "attribute": 5 / 8,  # all questions alike
        "entity": 3 / 4,
    }
    broad, detailed = category_parts(samples, "official", 10, 0)
    assert {name: part.score for name, part in detailed.items()} == {
        "attribute - color": 1.0,  # though there is no cat
        "attribute - size": 0.0,
        "entity - whole": 0.0,
    }
    assert broad["attribute"].score == 0.5
    assert broad["attribute"].num_samples == 1


def test_the_order_of_crops_matters_to_official_categories_only():
    answers = crops((YES, YES, NO), (NO, YES, YES), (YES, YES, YES), (YES, NO, NO))
    forward, backward = (
        [judged_sample(ITEM, order, "fixed", seed=0)] for order in (answers, answers[::-1])
    )
    assert forward[0].score == pytest.approx(backward[0].score)
    assert category_parts(forward, "fixed", 10, 0) == category_parts(backward, "fixed", 10, 0)
    assert category_parts(forward, "official", 10, 0) != category_parts(backward, "official", 10, 0)


def test_no_judged_item_has_no_category():
    assert category_parts([missing_sample(ITEM, "", seed=0)], "fixed", 10, 0) == ({}, {})
