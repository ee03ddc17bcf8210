import csv
import random

import pytest

from uae.data.facts import ObjectFact, SceneFacts
from uae.data.starter.scenes import sample_facts
from uae.errors import EvaluationError
from uae.evaluation.claims import false_claims, true_claims
from uae.evaluation.dpg_bench.prompts import (
    COLUMNS,
    first_items,
    items_of,
    read_rows,
    rows_sha256,
    scene_rows,
    write_rows,
)
from uae.evaluation.prompt_files import read_prompt_file
from uae.recipe import PromptFile

TWO_CATS = SceneFacts(
    (
        ObjectFact("cat", "red", "small", "top left", (8, 8, 24, 24)),
        ObjectFact("cat", "blue", "small", "top right", (40, 8, 56, 24)),
    ),
    "tan",
    "SUN",
)


def rows_of(*lines, columns=COLUMNS):
    return read_rows("\n".join([",".join(columns), *lines]), source="dpg.csv")


def line(item_id, number, parents="0", text="t", question=None):
    asked = question or f"question {number}?"
    return f'{item_id},{text},,{number},"{parents}",entity,whole,entity - whole ({number}),{asked}'


def numbers(item):
    return [question.number for question in item.questions]


def test_questions_of_a_scene_worked_by_hand():
    (item,) = items_of(scene_rows([("s1", TWO_CATS)], 1), "fixed", source="scenes")
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


def test_claims_are_true_or_false_as_they_say():
    rng = random.Random(0)
    for _ in range(100):
        facts = sample_facts(rng)
        assert all(claim.holds(facts) for claim in true_claims(facts))
        wrong = false_claims(facts, rng)
        assert wrong
        assert not any(claim.holds(facts) for claim in wrong)


def test_rows_survive_the_official_file(tmp_path):
    rng = random.Random(0)
    rows = scene_rows([(f"s{index}", sample_facts(rng)) for index in range(20)], 20)
    path = tmp_path / "dpg.csv"
    write_rows(rows, path)
    text = read_prompt_file(PromptFile(source=str(path), sha256=None)).text
    assert read_rows(text, source="dpg.csv") == rows
    with path.open(encoding="utf-8", newline="") as stream:
        first = next(csv.DictReader(stream))
    assert (first["category_broad"], first["category_detailed"]) == ("entity", "whole")
    assert first["dependency"] == "0"


def test_several_parents_line_ends_and_a_byte_order_mark_are_read(tmp_path):
    lines = [",".join(COLUMNS), line("i", 1), line("i", 2, "0, 1"), line("i", 3, "2,1"), ""]
    path = tmp_path / "dpg.csv"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    file = read_prompt_file(PromptFile(source=str(path), sha256=None))
    (item,) = items_of(read_rows(file.text, source="dpg.csv"), "fixed", source="dpg.csv")
    assert [question.parents for question in item.questions] == [(), (1,), (2, 1)]


def test_a_cell_may_hold_commas_quotes_and_line_ends():
    (row,) = rows_of(line("i", 1, text='"a ""red"" cat,\non a mat"'))
    assert row.text == 'a "red" cat,\non a mat'


def test_blank_lines_between_rows_are_none():
    assert len(rows_of(line("i", 1), "", line("i", 2))) == 2


@pytest.mark.parametrize(
    ("row", "named"),
    [
        (line("i", "x"), "dpg.csv:2: bad proposition_id"),
        (line("i", 1, "a"), "dpg.csv:2: bad proposition_id or dependency"),
        (line("i", 1, ""), "dpg.csv:2: bad proposition_id or dependency"),
        (line("i", 1, "1,"), "dpg.csv:2: bad proposition_id or dependency"),
        (line("", 1), r"dpg.csv:2: \['item_id'\] must not be empty"),
        (line("i", 1, text=" "), r"dpg.csv:2: \['text'\] must not be empty"),
        (line("i", 1, question=" "), r"dpg.csv:2: \['question_natural_language'\] must not be"),
        (line("../i", 1), r"dpg.csv:2: item_id '\.\./i' cannot be the name of a picture"),
        (line("a/i", 1), "cannot be the name of a picture"),
        (line("a\\i", 1), "cannot be the name of a picture"),
        (line('"a\ni"', 1), "cannot be the name of a picture"),
        (line("a\ti", 1), "cannot be the name of a picture"),
        (line("i" * 201, 1), "cannot be the name of a picture"),
        (line("\u00e9" * 101, 1), "cannot be the name of a picture"),
        ("i,t,,1,0", "dpg.csv:2: the row has not as many cells"),
        (line("i", 1) + ",more", "dpg.csv:2: the row has not as many cells"),
        ('i,"t"x,,1,0,e,w,e (c),A?', "dpg.csv: not CSV after line 1"),
        (line("i", 1, question='"open'), "dpg.csv: not CSV after line 1: unexpected end of data"),
    ],
)
def test_bad_rows_are_refused_by_line(row, named):
    with pytest.raises(EvaluationError, match=named):
        rows_of(row)


def test_a_long_name_and_spaces_in_it_are_possible():
    assert [row.item_id for row in rows_of(line("i" * 200, 1), line("a b", 1))][1] == "a b"


def test_items_that_differ_only_by_case_are_named():
    with pytest.raises(EvaluationError, match="items 'Item' and 'iTem' differ only by case"):
        rows_of(line("Item", 1), line("other", 1), line("iTem", 1))


def test_the_first_items_are_taken_and_too_few_refused():
    items = items_of(rows_of(line("i", 1), line("j", 1)), "fixed", source="dpg.csv")
    assert first_items(items, None, source="dpg.csv") == items
    assert first_items(items, 1, source="dpg.csv") == items[:1]
    assert first_items(items, 2, source="dpg.csv") == items
    with pytest.raises(EvaluationError, match=r"num_prompts is 3, but dpg\.csv holds 2 prompts"):
        first_items(items, 3, source="dpg.csv")


def test_missing_and_repeated_columns_no_rows_and_too_few_scenes_are_named():
    with pytest.raises(EvaluationError, match=r"each of these columns once: .*'dependency'"):
        rows_of(columns=("item_id", "text"))
    with pytest.raises(EvaluationError, match=r"columns once: \['text'\]"):
        rows_of(columns=(*COLUMNS, "text"))
    with pytest.raises(EvaluationError, match=r"dpg\.csv holds no DPG-Bench prompt"):
        rows_of()
    with pytest.raises(EvaluationError, match="there are 1"):
        scene_rows([("s1", TWO_CATS)], 2)


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        ([line("i", 1, "7")], r"item 'i' depends on questions that do not exist: \[7\]"),
        ([line("i", 1, "1")], r"item 'i' has a cyclic dependency among \[1\]"),
        ([line("i", 1, "2"), line("i", 2, "1")], r"cyclic dependency among \[1, 2\]"),
        (
            [line("i", 0), line("i", 1)],
            r"'i' has the proposition_id \[0\]: give numbers from 1",
        ),
        ([line("i", -2)], r"item 'i' has the proposition_id \[-2\]"),
        ([line("i", 1), line("i", 1)], r"item 'i' repeats the proposition_id \[1\]"),
        ([line("i", 1), line("j", 1), line("i", 2)], "item 'i' appears twice"),
        ([line("i", 1), line("i", 2, text="u")], "item 'i' has several texts"),
    ],
)
def test_a_graph_that_cannot_be_scored_is_refused_by_the_fixed_protocol(lines, named):
    rows = rows_of(*lines)
    with pytest.raises(EvaluationError, match=named):
        items_of(rows, "fixed", source="dpg.csv")
    assert items_of(rows, "official", source="dpg.csv")


def test_all_faults_are_named_at_once():
    rows = rows_of(line("i", 1, "7"), line("j", 1, "1"))
    with pytest.raises(EvaluationError, match=r"2 faults: item 'i' .*; item 'j' .*official"):
        items_of(rows, "fixed", source="dpg.csv")


def test_the_official_reader_loses_the_first_row_only():
    rows = rows_of(line("i", 1), line("i", 2, "1"), line("j", 1), line("j", 2))
    assert [numbers(item) for item in items_of(rows, "fixed", source="")] == [[1, 2], [1, 2]]
    assert [numbers(item) for item in items_of(rows, "official", source="")] == [[2], [1, 2]]


def test_an_item_whose_only_row_is_lost_stays_without_questions():
    rows = rows_of(line("i", 1), line("j", 1))
    items = items_of(rows, "official", source="")
    assert [(item.item_id, item.text, numbers(item)) for item in items] == [
        ("i", "t", []),
        ("j", "t", [1]),
    ]


def test_the_official_reader_keeps_the_last_place_and_the_last_content():
    rows = rows_of(
        line("z", 1),  # lost
        line("i", 1),
        line("i", 2),
        line("i", 1, question="again?"),
        line("j", 1),
        line("j", 2),
        line("k", 1),
        line("j", 5),
    )
    z, i, j, k = items_of(rows, "official", source="")
    assert [(q.number, q.text) for q in i.questions] == [(1, "again?"), (2, "question 2?")]
    assert (numbers(z), numbers(j), numbers(k)) == ([], [5], [1])


def test_prompts_have_one_hash_for_both_protocols_and_only_what_is_used_counts():
    rows = rows_of(line("i", 1), line("i", 2, "1"), line("j", 1))
    fixed, official = (items_of(rows, protocol, source="") for protocol in ("fixed", "official"))
    assert rows_sha256(rows, fixed) == rows_sha256(rows, official)
    other = rows_of(line("i", 1), line("i", 2, "1"), line("j", 1, question="other?"))
    assert rows_sha256(rows, fixed) != rows_sha256(other, fixed)
    assert rows_sha256(rows, fixed[:1]) == rows_sha256(other, fixed[:1])
