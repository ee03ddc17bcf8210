import random

import pytest

from uae.data.facts import ObjectFact, SceneFacts
from uae.data.starter.scenes import sample_facts
from uae.errors import EvaluationError
from uae.evaluation.claims import false_claims, true_claims
from uae.evaluation.dpg_bench.prompts import (
    COLUMNS,
    check_items,
    read_items,
    scene_items,
    write_items,
)
from uae.evaluation.dpg_bench.rules import Item, Question

TWO_CATS = SceneFacts(
    (
        ObjectFact("cat", "red", "small", "top left", (8, 8, 24, 24)),
        ObjectFact("cat", "blue", "small", "top right", (40, 8, 56, 24)),
    ),
    "tan",
    "SUN",
)


def test_questions_of_a_scene_worked_by_hand():
    (item,) = scene_items([("s1", TWO_CATS)], 1)
    assert [(q.number, q.text, q.parents) for q in item.questions] == [
        (1, "Is there a cat?", ()),
        (2, "Are there two cats?", (1,)),
        (3, "Is there a red cat?", (1,)),
        (4, "Is there a small cat?", (1,)),
        (5, "Is there a cat at the top left?", (1,)),
        (6, "Is there a blue cat?", (1,)),
        (7, "Is there a cat at the top right?", (1,)),
        (8, "Is the background tan?", ()),
        (9, 'Is the word "SUN" written?', ()),
    ]
    assert item.questions[2].label == "attribute - color (cat, red)"
    assert item.questions[2].category == "attribute - color"


def test_claims_are_true_or_false_as_they_say():
    rng = random.Random(0)
    for _ in range(100):
        facts = sample_facts(rng)
        assert all(claim.holds(facts) for claim in true_claims(facts))
        wrong = false_claims(facts, rng)
        assert wrong
        assert not any(claim.holds(facts) for claim in wrong)


def test_items_survive_the_official_file(tmp_path):
    rng = random.Random(0)
    items = scene_items([(f"s{index}", sample_facts(rng)) for index in range(20)], 20)
    write_items(items, tmp_path / "dpg.csv")
    assert read_items(tmp_path / "dpg.csv") == items
    check_items(items, source="scenes")


def write_csv(path, *rows, columns=COLUMNS):
    path.write_text("\n".join([",".join(columns), *rows]), encoding="utf-8")
    return path


def test_several_parents_and_a_byte_order_mark_are_read(tmp_path):
    path = write_csv(
        tmp_path / "dpg.csv",
        "i,text,,1,0,entity,whole,entity - whole (cat),A cat?",
        'i,text,,2,"0, 1",entity,whole,entity - whole (dog),A dog?',
    )
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    (item,) = read_items(path)
    assert item.questions[1].parents == (1,)


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        (["i,t,,x,0,e,w,e (c),A?"], ":2: bad proposition_id"),
        (["i,t,,1,a,e,w,e (c),A?"], ":2: bad proposition_id or dependency"),
        (["i,t,,1,7,e,w,e (c),A?"], r"'i' depends on questions that do not exist: \[7\]"),
        (["i,t,,1,2,e,w,e (c),A?", "i,t,,2,1,e,w,e (c),B?"], r"cyclic dependency among \[1, 2\]"),
        (["i,t,,1,0,e,w,e (c),A?", "i,t,,1,0,e,w,e (c),B?"], "repeats a proposition_id"),
        (["i,t,,1,0,e,w,e,A?", "j,t,,1,0,e,w,e,A?", "i,t,,2,0,e,w,e,A?"], "'i' appears twice"),
        ([], "holds no DPG-Bench prompt"),
    ],
)
def test_bad_files_are_refused_by_name(tmp_path, rows, named):
    with pytest.raises(EvaluationError, match=named):
        read_items(write_csv(tmp_path / "dpg.csv", *rows))


def test_missing_file_column_and_scene_are_named(tmp_path):
    with pytest.raises(EvaluationError, match="no DPG-Bench prompt file"):
        read_items(tmp_path / "absent.csv")
    with pytest.raises(EvaluationError, match="dependency"):
        read_items(write_csv(tmp_path / "dpg.csv", columns=("item_id", "text")))
    with pytest.raises(EvaluationError, match="there are 1"):
        scene_items([("s1", TWO_CATS)], 2)


def test_a_self_parent_is_a_cycle():
    item = Item("i", "t", (Question(1, "A?", "entity (a)", (1,)),))
    with pytest.raises(EvaluationError, match="cyclic"):
        check_items([item], source="here")
