from pathlib import Path

import pytest
from unit.leaderboard.example_results import make_result, make_sample, sha

from uae.evaluation.bootstrap import Interval
from uae.evaluation.results import PromptSet
from uae.leaderboard.gathering import Entry
from uae.leaderboard.reported import ReportedSet
from uae.leaderboard.tables import build_tables

OFFICIAL = PromptSet(name="geneval", source="x", sha256=sha("official"), count=553)


def entry(name, score=1.0, **changes):
    samples = [make_sample("a", score, part="colors"), make_sample("b", score, part="position")]
    return Entry(Path("x"), f"runs/{name}", make_result(samples, name, **changes))


def reported(**changes):
    values = {
        "benchmark": "geneval",
        "protocol": "geneval",
        "prompts": "geneval",
        "num_prompts": 553,
        "unit": "points",
        "judges": "theirs",
        "source": "a paper",
        "systems": {"UAE": {"score": 86, "parts": {"colors": 80}}, "Other": {"score": 50}},
    }
    return ReportedSet.model_validate(values | changes)


def test_comparable_results_stand_in_one_table():
    (table,) = build_tables([entry("A", 0.0), entry("B", 1.0)], [])
    assert [row.name for row in table.rows] == ["B", "A"]
    assert table.parts == ["colors", "position"]
    assert (table.title, table.differences) == ("GenEval", [])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"prompts": OFFICIAL}, "prompts: geneval, 553 instead of scenes, 2"),
        ({"version": 3}, "version: 3 instead of 2"),
        ({"protocol": "geneval/other"}, "protocol: geneval/other instead of geneval"),
        (
            {"judges": {"detector": {"kind": "other", "sha256": "a" * 64}}},
            "judge detector kind: other instead of mask2former",
        ),
    ],
)
def test_others_stand_apart_and_it_is_told_what_differs(changes, told):
    first, second = build_tables([entry("A"), entry("A", **changes)], [])
    assert first.differences == []
    assert told in second.differences
    assert len(second.differences) <= 4


def test_sources_of_prompts_may_differ():
    prompts = PromptSet(name="scenes", source="elsewhere", sha256=sha("scenes"), count=2)
    assert len(build_tables([entry("A"), entry("B", prompts=prompts)], [])) == 1


def test_a_published_score_stands_in_the_row_of_its_system_in_the_unit_of_the_table():
    (table,) = build_tables([entry("uae", prompts=OFFICIAL)], [reported()])
    row, other = table.rows
    assert (row.name, row.entry.result.score) == ("uae", 1.0)
    assert row.published.score == pytest.approx(0.86)
    assert row.published.parts == {"colors": pytest.approx(0.8)}
    assert row.published.given == "86 of 100"
    assert (other.name, other.kind, other.entry) == ("Other", "reported", None)


def test_no_conversion_is_told_where_there_is_none():
    sets = [reported(unit="share", systems={"UAE": {"score": 0.86}})]
    (table,) = build_tables([entry("UAE", prompts=OFFICIAL)], sets)
    assert table.rows[0].published.given == ""


def test_published_scores_of_other_prompts_stand_apart_even_under_the_same_name():
    measured, published = build_tables([entry("UAE")], [reported()])
    assert [row.published for row in measured.rows] == [None]
    assert [row.name for row in published.rows] == ["UAE", "Other"]
    assert published.unit == "points"
    assert "nothing here was measured" in published.differences[0]


def test_rows_of_one_name_are_told_apart_by_place_and_settings():
    one, other = entry("A"), entry("A", settings={"images_per_prompt": 4})
    (table,) = build_tables([one, Entry(Path("y"), "runs/second", other.result)], [])
    assert sorted(row.note for row in table.rows) == [
        "runs/A; images_per_prompt: 1",
        "runs/second; images_per_prompt: 4",
    ]


def test_an_incomplete_result_ranks_by_the_lower_end_of_its_bounds():
    open_one = entry("open")
    changes = {"score": None, "interval": None, "bounds": Interval(0.4, 1.0)}
    open_one = open_one._replace(result=open_one.result.model_copy(update=changes))
    (table,) = build_tables([open_one, entry("low", 0.0), entry("high", 1.0)], [])
    assert [row.name for row in table.rows] == ["high", "open", "low"]


def test_benchmarks_come_in_a_fixed_order_and_unknown_ones_last():
    entries = [
        entry("A", benchmark="own_bench", protocol="own"),
        entry("A", benchmark="dpg_bench", protocol="dpg-bench/fixed"),
        entry("A", benchmark="unified_bench", protocol="unified-bench"),
    ]
    assert [table.title for table in build_tables(entries, [])] == [
        "Unified-Bench",
        "DPG-Bench",
        "own_bench",
    ]
