from pathlib import Path

import pytest
from unit.leaderboard.example_results import SLOT_KINDS, make_result, make_sample, sha

from uae.evaluation.bootstrap import Interval
from uae.evaluation.results import PromptSet
from uae.leaderboard.gathering import Entry
from uae.leaderboard.reported import ReportedSet, shipped
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
        "judged_by": {"detector": {"kind": ["mask2former"]}, "colors": {}},
        "source": "a paper",
        "systems": {"UAE": {"score": 86, "parts": {"colors": 80}}, "Other": {"score": 50}},
    }
    return ReportedSet.model_validate(values | changes)


def slot_judges():
    """Judges of the kinds of Unified-Bench's own."""
    return {slot: {"kind": kind, "sha256": sha(slot)} for slot, kind in SLOT_KINDS.items()}


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


@pytest.mark.parametrize(
    "judged_by",
    [
        {"detector": {"kind": ["another"]}, "colors": {}},
        {"detector": {"kind": ["mask2former"], "size": ["swin-s"]}, "colors": {}},
        {"detector": {"kind": ["mask2former"]}},
        {"detector": {}, "colors": {}, "third": {}},
    ],
    ids=["kind", "key", "fewer roles", "more roles"],
)
def test_a_published_score_of_another_judge_stands_apart(judged_by):
    sets = [reported(judged_by=judged_by)]
    measured, published = build_tables([entry("UAE", prompts=OFFICIAL)], sets)
    assert [row.published for row in measured.rows] == [None]
    assert [(row.name, row.entry) for row in published.rows] == [("UAE", None), ("Other", None)]
    assert "by other judges" in published.differences[0]
    assert published.facts["judges, as published"] == "theirs"


def test_what_a_measured_result_only_claims_is_told_where_published_rows_stand_beside_it():
    (table,) = build_tables([entry("UAE", prompts=OFFICIAL)], [reported(claim="Says who?")])
    assert table.claims == ["Says who?"]
    measured, _ = build_tables([entry("UAE")], [reported(claim="Says who?")])
    assert measured.claims == []


@pytest.mark.parametrize(
    ("benchmark", "protocol", "prompts", "judges"),
    [
        (
            "dpg_bench",
            "dpg-bench/official",
            ("dpg-bench", 1065),
            {"vqa": {"kind": "vlm", "sha256": "c" * 64}},
        ),
        (
            "geneval_plus",
            "geneval++",
            ("geneval_plus", 280),
            {
                "checklist": {
                    "kind": "server",
                    "model": "gpt-4.1-2025-04-14",
                    "instruction": "geneval_plus/1",  # our words, not the script's
                }
            },
        ),
        (
            "geneval",
            "geneval",
            ("geneval", 553),
            {"detector": {"kind": "segformer-regions"}, "colors": {"kind": "open_clip"}},
        ),
        ("pairwise", "pairwise-captions", ("pictures", 100), {"GPT-4o": {"model": "gpt-4o"}}),
        (
            "unified_bench",
            "unified-bench",
            ("pictures", 100),
            {slot: {"kind": "open_clip"} for slot in SLOT_KINDS},
        ),
        ("unified_bench", "unified-bench", ("pictures", 99), slot_judges()),
        ("unified_bench", "unified-bench", ("heldout", 100), slot_judges()),
    ],
)
def test_shipped_scores_of_other_judges_or_prompts_have_no_place_beside_measured_ones(
    benchmark, protocol, prompts, judges
):
    name, count = prompts
    prompts = PromptSet(name=name, source="x", sha256=sha("x"), count=count)
    changes = {"benchmark": benchmark, "protocol": protocol, "prompts": prompts, "judges": judges}
    tables = build_tables([entry("UAE", **changes)], shipped())
    of_benchmark = [table for table in tables if table.benchmark == benchmark]
    assert [bool(table.entries) for table in of_benchmark][:2] == [True, False]
    assert all(row.published is None for row in of_benchmark[0].rows)


def test_shipped_scores_of_judges_that_may_be_the_same_stand_beside_measured_ones():
    prompts = PromptSet(name="pictures", source="x", sha256=sha("x"), count=100)
    changes = {"protocol": "unified-bench", "prompts": prompts, "judges": slot_judges()}
    found = build_tables([entry("uae", benchmark="unified_bench", **changes)], shipped())
    table = next(table for table in found if table.entries)
    assert next(row for row in table.rows if row.entry).published.parts["dinov3"] == pytest.approx(
        0.7754
    )
    assert len(table.claims) == 1
    assert "is the claim of whoever evaluated" in table.claims[0]


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
