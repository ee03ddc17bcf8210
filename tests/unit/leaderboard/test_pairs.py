from pathlib import Path

import pytest
from unit.leaderboard.example_results import make_result, make_sample

from uae.evaluation.bootstrap import Interval
from uae.leaderboard import pairs
from uae.leaderboard.gathering import Entry
from uae.leaderboard.pairs import compare_all
from uae.leaderboard.tables import Row


def rows_of(*scores, **changes):
    samples = [
        [make_sample(str(n), score, part="colors") for n, score in enumerate(of_row)]
        for of_row in scores
    ]
    results = [make_result(of_row, f"S{n}", **changes) for n, of_row in enumerate(samples)]
    entries = [Entry(Path("x"), "x", result) for result in results]
    return [Row(f"S{n}", "", entry, None) for n, entry in enumerate(entries)], samples


def test_difference_is_that_of_the_first_from_the_second():
    rows, samples = rows_of([1.0, 1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0])
    found, note = compare_all(rows, samples)
    pair = found["0,1"]
    assert pair["difference"] == pytest.approx(0.5)
    assert pair["interval"][0] >= 0
    assert (pair["better"], pair["worse"], pair["equal"]) == (2, 0, 2)
    # two differences, both positive: of 4 sign patterns 2 are as far from 0
    assert pair["p_value"] == pytest.approx(0.5)
    assert (list(found), note) == (["0,1"], "")


def test_no_difference_while_a_sample_is_open_and_it_is_told():
    rows, samples = rows_of([1.0, None], [1.0, 0.0])
    pair = compare_all(rows, samples)[0]["0,1"]
    assert pair["difference"] is None
    assert "1 samples have no verdict" in pair["note"]


def test_no_difference_where_the_score_is_not_made_of_its_samples():
    rows, samples = rows_of([1.0, 0.0], [0.0, 0.0], score=0.9, interval=Interval(0.8, 1.0))
    assert "has score 0.9" in compare_all(rows, samples)[0]["0,1"]["note"]


def test_rows_that_were_not_measured_have_no_pair():
    rows, samples = rows_of([1.0], [0.0])
    found, _ = compare_all(
        [rows[0], Row("paper", "", None, None), rows[1]], [samples[0], [], samples[1]]
    )
    assert list(found) == ["0,2"]


def test_pairs_beyond_the_first_systems_are_left_out_and_it_is_told(monkeypatch):
    monkeypatch.setattr(pairs, "MAX_SYSTEMS", 2)
    found, note = compare_all(*rows_of([1.0], [0.0], [0.0]))
    assert list(found) == ["0,1"]
    assert "2 systems that score highest" in note
