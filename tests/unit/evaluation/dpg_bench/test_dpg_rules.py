"""DPG-Bench's arithmetic on answers made by hand."""

import pytest

from uae.evaluation.dpg_bench.rules import (
    Item,
    Question,
    apply_dependencies,
    category_scores,
    lose_first_question,
    score_item,
)


def question(number, *parents, category="entity - whole"):
    return Question(number, f"question {number}?", f"{category} (thing {number})", parents)


CHAIN = (question(1), question(2, 1), question(3, 2))
ITEM = Item("a", "prompt", CHAIN)


def answers(*values):
    return dict(enumerate(values, start=1))


def test_a_child_of_a_no_becomes_no_down_the_chain():
    assert apply_dependencies(CHAIN, answers(False, True, True)) == [False, False, False]
    assert apply_dependencies(CHAIN, answers(True, False, True)) == [True, False, False]
    assert apply_dependencies(CHAIN, answers(True, True, False)) == [True, True, False]


def test_every_parent_must_be_yes():
    graph = (question(1), question(2), question(3, 1, 2))
    assert apply_dependencies(graph, answers(True, False, True)) == [True, False, False]
    assert apply_dependencies(graph, answers(True, True, True)) == [True, True, True]


def test_the_rule_goes_in_question_order():
    # question 1 is visited while its parent still counts as yes
    backwards = (question(1, 2), question(2, 3), question(3))
    assert apply_dependencies(backwards, answers(True, True, False)) == [True, False, False]


def test_item_score_is_the_mean_over_questions_then_crops():
    crops = [answers(True, True, True), answers(False, True, True), answers(True, True, False)]
    score = score_item(ITEM, crops, "fixed")
    assert score.crop_scores == pytest.approx((1.0, 0.0, 2 / 3))
    assert score.score == pytest.approx(5 / 9)


def test_category_quirk_last_crop_before_the_rule_or_all_crops_after_it():
    item = Item("a", "prompt", (question(1), question(2, 1, category="attribute - color")))
    crops = [answers(True, True), answers(False, True)]
    official = category_scores([score_item(item, crops, "official")])
    assert official["level_2"] == {"attribute - color": 1.0, "entity - whole": 0.0}
    fixed = category_scores([score_item(item, crops, "fixed")])
    assert fixed["level_2"] == {"attribute - color": 0.5, "entity - whole": 0.5}
    assert fixed["level_1"] == {"attribute": 0.5, "entity": 0.5}


def test_level_1_pools_questions_not_categories():
    item = Item(
        "a",
        "prompt",
        (
            question(1, category="attribute - color"),
            question(2, category="attribute - color"),
            question(3, category="attribute - size"),
        ),
    )
    levels = category_scores([score_item(item, [answers(True, True, False)], "fixed")])
    assert levels["level_1"]["attribute"] == pytest.approx(2 / 3)


def test_the_official_reader_loses_the_first_question():
    other = Item("b", "other", (question(1),))
    assert lose_first_question([ITEM, other]) == [Item("a", "prompt", CHAIN[1:]), other]
    assert lose_first_question([other, ITEM]) == [ITEM]


def test_the_lost_question_drops_its_item_where_another_refers_to_it():
    (lost, _) = lose_first_question([ITEM, ITEM])
    score = score_item(lost, [{2: True, 3: True}], "official")
    assert (score.score, score.reason) == (None, "no parent question 1")
    with pytest.raises(KeyError):
        score_item(lost, [{2: True, 3: True}], "fixed")


def test_scores_do_not_depend_on_the_order_of_crops_except_official_categories():
    crops = [answers(True, True, False), answers(False, True, True)]
    forward, backward = score_item(ITEM, crops, "fixed"), score_item(ITEM, crops[::-1], "fixed")
    assert forward.score == backward.score
    assert category_scores([forward]) == category_scores([backward])
