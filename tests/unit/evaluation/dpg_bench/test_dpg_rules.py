"""DPG-Bench's arithmetic on answers made by hand."""

import pytest

from uae.evaluation.dpg_bench.rules import (
    Item,
    Question,
    apply_dependencies,
    category_answers,
    level_1,
    level_2,
    score_item,
)


def question(number, *parents, category="entity - whole"):
    return Question(number, f"question {number}?", f"{category} (thing {number})", parents)


CHAIN = (question(1), question(2, 1), question(3, 2))
ITEM = Item("a", "prompt", CHAIN)


def answers(*values):
    return dict(enumerate(values, start=1))


def test_a_child_of_a_no_becomes_no_down_the_chain():
    assert apply_dependencies(CHAIN, answers(False, True, True)) == (False, False, False)
    assert apply_dependencies(CHAIN, answers(True, False, True)) == (True, False, False)
    assert apply_dependencies(CHAIN, answers(True, True, False)) == (True, True, False)


def test_every_parent_must_be_yes():
    graph = (question(1), question(2), question(3, 1, 2))
    assert apply_dependencies(graph, answers(True, False, True)) == (True, False, False)
    assert apply_dependencies(graph, answers(True, True, True)) == (True, True, True)


def test_the_rule_goes_in_question_order():
    # question 1 is visited while its parent still counts as yes
    backwards = (question(1, 2), question(2, 3), question(3))
    assert apply_dependencies(backwards, answers(True, True, False)) == (True, False, False)


def test_the_order_is_the_files_not_that_of_the_numbers():
    shuffled = (question(3), question(2, 3), question(1, 2))
    assert apply_dependencies(shuffled, answers(True, True, False)) == (False, False, False)


def test_a_cycle_is_visited_once_in_order():
    cycle = (question(1, 2), question(2, 1))
    assert apply_dependencies(cycle, answers(True, True)) == (True, True)
    assert apply_dependencies(cycle, answers(False, True)) == (False, False)
    assert apply_dependencies((question(1, 1),), answers(True)) == (True,)


def test_a_missing_parent_matters_only_where_the_rule_comes_to_it():
    graph = (question(1), question(2, 1, 9))
    assert apply_dependencies(graph, answers(False, True)) == (False, False)  # 1 decides
    with pytest.raises(KeyError, match="9"):
        apply_dependencies(graph, answers(True, True))


def test_item_score_is_the_mean_over_questions_then_crops():
    crops = [answers(True, True, True), answers(False, True, True), answers(True, True, False)]
    score = score_item(ITEM, crops, "fixed")
    assert score.crop_scores == pytest.approx((1.0, 0.0, 2 / 3))
    assert score.score == pytest.approx(5 / 9)
    assert score.answers == ((True,) * 3, (False,) * 3, (True, True, False))
    assert score == score_item(ITEM, crops, "official")


def test_a_missing_parent_drops_the_item_only_by_the_official_protocol():
    lost = Item("a", "prompt", CHAIN[1:])
    score = score_item(lost, [{2: True, 3: True}], "official")
    assert (score.score, score.crop_scores, score.answers) == (None, (), ())
    assert score.reason == "dropped: the published script fails, as there is no question 1"
    with pytest.raises(KeyError):
        score_item(lost, [{2: True, 3: True}], "fixed")


def test_one_crop_on_which_the_script_fails_drops_all_four():
    item = Item("a", "prompt", (question(1), question(2, 1, 9)))
    fine = answers(False, True)
    assert score_item(item, [fine] * 4, "official").score == 0.0
    assert score_item(item, [fine, fine, answers(True, True), fine], "official").score is None


def test_an_item_that_lost_its_only_question_is_dropped():
    score = score_item(Item("a", "prompt", ()), [{}] * 4, "official")
    assert (score.score, score.reason) == (
        None,
        "dropped: the published reader loses its only question",
    )


def test_official_categories_take_the_last_crop_before_the_rule():
    labels = ["entity - whole (cat)", "attribute - color (cat, red)"]
    before = [[True, True], [False, True]]
    after = [[True, True], [False, False]]
    assert category_answers(labels, before, after, "official") == {
        "entity - whole": [False],
        "attribute - color": [True],
    }
    assert category_answers(labels, before, after, "fixed") == {
        "entity - whole": [True, False],
        "attribute - color": [True, False],
    }


def test_questions_of_one_category_stand_together():
    labels = ["other - count (cats, ==2)", "entity - whole (cat)", "other - count (dogs, ==3)"]
    assert category_answers(labels, [[True, True, False]], [], "official") == {
        "other - count": [True, False],
        "entity - whole": [True],
    }


@pytest.mark.parametrize(
    ("label", "detailed", "broad"),
    [
        ("attribute - color (cat, red)", "attribute - color", "attribute"),
        ("relation - non-spatial (cats, dogs, contrast)", "relation - non-spatial", "relation"),
        ("global - (photo)", "global -", "global"),  # as the published script names it
        ("entity-whole(cat (a))", "entity-whole", "entity"),
        ("other", "other", "other"),
    ],
)
def test_categories_are_read_from_the_tuple(label, detailed, broad):
    assert level_2(label) == detailed
    assert level_1(level_2(label)) == broad
