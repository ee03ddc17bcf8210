import json

import pytest
from unit.leaderboard.example_results import (
    HOSTILE,
    make_result,
    make_sample,
    write_geneval,
    write_unified,
)

from uae.errors import EvaluationError
from uae.leaderboard.choice import choice_in_words, spread_ids
from uae.leaderboard.gathering import gather
from uae.leaderboard.numbers import in_unit, incomplete
from uae.leaderboard.page_data import PageData, script_json
from uae.leaderboard.tables import build_tables


def collect(folder, max_samples):
    page = PageData(max_samples)
    return page, json.loads(script_json(page.collect(build_tables(gather([folder]), []))))


def test_chosen_samples_are_spread_evenly():
    ids = [str(number) for number in range(10)]
    assert spread_ids(ids, 4) == {"0", "2", "5", "7"}
    assert spread_ids(ids, 10) == spread_ids(ids, 99) == set(ids)
    assert spread_ids(ids, 0) == set()


def test_the_choice_is_told():
    assert "4 of 10" in choice_in_words(4, 10)
    assert "whatever their scores" in choice_in_words(4, 10)
    assert "all 10" in choice_in_words(10, 10)
    assert "No pictures" in choice_in_words(0, 10)


def test_every_system_shows_the_same_samples(tmp_path):
    write_geneval(tmp_path / "a", "A", 0.9, num_samples=12)
    write_geneval(tmp_path / "b", "Bee", 0.1, num_samples=12)
    page, data = collect(tmp_path, 3)
    (table,) = data["tables"]
    shown = [
        [data["texts"][sample[0]] for sample in row["result"]["samples"] if sample[-1] >= 0]
        for row in table["rows"]
    ]
    assert shown[0] == shown[1] == ["00000/0000", "00004/0000", "00008/0000"]
    assert all(len(row["result"]["details"]) == 3 for row in table["rows"])
    assert all(len(row["result"]["samples"]) == 12 for row in table["rows"])
    assert len(page.album.pictures) == 6


def test_a_sample_can_be_read_back(tmp_path):
    write_unified(tmp_path / "a", "A", 70.0)
    _, data = collect(tmp_path, 6)
    result = data["tables"][0]["rows"][0]["result"]
    name, part, state, score, seed, prompt, reason, details = result["samples"][2]
    texts = data["texts"]
    assert (texts[name], texts[part], texts[prompt], texts[reason]) == ("image-2", "", "", "")
    assert (data["states"][state], score, seed) == ("scored", 72.0, 7)
    shown = result["details"][details]
    assert shown["caption"].endswith("number 2.")
    assert [role for role, _ in shown["pictures"]] == ["original", "reconstruction"]
    assert result["parts"]["clip"] == [75.0, 74.0, 76.0]
    assert ["caption_words", "14.5 (6 samples)"] in result["metrics"]


def test_json_cannot_end_its_element():
    text = script_json({"prompt": HOSTILE, "other": "<!--"})
    assert "<" not in text
    assert json.loads(text)["prompt"] == HOSTILE
    with pytest.raises(ValueError, match="JSON compliant"):
        script_json(float("nan"))


def test_samples_that_cannot_be_read_are_named(tmp_path):
    write_geneval(tmp_path / "a", "A", 0.9, num_samples=6)
    (tmp_path / "a" / "samples.parquet").write_bytes(b"no parquet")
    with pytest.raises(EvaluationError, match=r"a/samples\.parquet"):
        collect(tmp_path, 3)


def test_numbers_and_what_is_open():
    assert (in_unit(0.8474, "share"), in_unit(84.744, "points")) == ("0.847", "84.74")
    assert in_unit(None, "share") == "\N{EN DASH}"
    result = make_result([make_sample("a", 1.0)])
    states = {"scored": 1, "wrong": 1, "judge_error": 1, "missing": 2}
    result = result.model_copy(update={"num_samples": 5, "states": states})
    assert incomplete(result) == "incomplete: 1 judge error, 2 missing, of 5"
    judged = states | {"judge_error": 0, "missing": 0, "dropped": 3}  # these the protocol drops
    assert incomplete(result.model_copy(update={"states": judged})) == ""
