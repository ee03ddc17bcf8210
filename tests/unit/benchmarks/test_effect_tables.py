"""The experiment's arithmetic, on numbers worked by hand."""

import importlib
import json
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from uae.errors import EvaluationError
from uae.recipe_files import load_recipe

ROOT = Path(__file__).parents[3]
FULL = "full"


@pytest.fixture(autouse=True)
def _found(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.fixture
def differences():
    return importlib.import_module("benchmarks.effect.differences")


@pytest.fixture
def arms():
    return importlib.import_module("benchmarks.effect.arms")


@pytest.fixture
def table():
    return importlib.import_module("benchmarks.effect.table")


@pytest.fixture
def judged(differences):
    def make(ids="ab", **measures):
        return differences.Judged(tuple(ids), {k: np.array(v) for k, v in measures.items()})

    return make


def test_difference_is_after_minus_before_paired_by_seed_and_scene(differences, judged):
    before = [judged(overall=[10.0, 20.0]), judged(overall=[30.0, 40.0])]
    after = [judged(overall=[11.0, 21.0]), judged(overall=[32.0, 42.0])]
    found = differences.difference("overall", before, after)
    assert (found.before, found.after, found.difference) == (25.0, 26.5, 1.5)
    assert found.by_seed == (1.0, 2.0)
    assert found.num_scenes == 2
    # Scenes agree, so only the seeds move it: both draws are one seed with probability 1/4.
    assert found.interval == (pytest.approx(1.0), pytest.approx(2.0))
    assert found.sign == 1


@pytest.mark.parametrize(("change", "sign"), [(-1.0, -1), (0.0, 0), (0.5, 1)])
def test_sign_is_that_of_the_whole_interval(differences, judged, change, sign):
    before, after = judged(overall=[1.0, 2.0]), judged(overall=[1.0 + change, 2.0 + change])
    assert differences.difference("overall", [before], [after]).sign == sign


def test_difference_of_mixed_signs_is_not_told_apart_from_zero(differences, judged):
    before, after = judged(overall=[0.0, 0.0]), judged(overall=[-1.0, 1.0])
    assert differences.difference("overall", [before], [after]).sign == 0


def test_only_scenes_whose_truth_is_known_count(differences, judged):
    nan = float("nan")
    before = [judged("abc", text_fidelity=[0.0, nan, 1.0])]
    after = [judged("abc", text_fidelity=[1.0, nan, 1.0])]
    found = differences.difference("text_fidelity", before, after)
    assert (found.before, found.after, found.num_scenes) == (0.5, 1.0, 2)


def test_unknown_truth_gives_no_number(differences, judged):
    nothing = [judged(text_fidelity=[float("nan")] * 2)]
    assert differences.difference("text_fidelity", nothing, nothing) is None
    assert differences.level("text_fidelity", nothing) is None


def test_other_scenes_and_other_seeds_are_refused(differences, judged):
    one, other = judged("ab", overall=[1.0, 2.0]), judged("ba", overall=[1.0, 2.0])
    with pytest.raises(EvaluationError, match="different scenes"):
        differences.difference("overall", [one], [other])
    with pytest.raises(ValueError, match="1 seeds before and 2 after"):
        differences.difference("overall", [one], [one, one])


def test_heldout_scorers_are_the_mean_of_their_slots(differences, tmp_path):
    row = {"slots/clip": 90.0, "slots/dinov2": 60.0, "slots/dinov3": 70.0, "overall": 73.3}
    row |= {"caption_words": 5.0, "repetition": 0.0, "attribute_recall": 0.5, "text_fidelity": None}
    row["attribute_precision"] = 1.0
    table = pyarrow.Table.from_pylist([{"sample_id": "a", **row}])
    pyarrow.parquet.write_table(table, tmp_path / "samples.parquet")
    found = differences.read_judged(tmp_path, ["dinov2", "dinov3"])
    assert found.measures[differences.HELDOUT].tolist() == [65.0]
    assert np.isnan(found.measures["text_fidelity"]).all()
    assert found.image_ids == ("a",)


def test_constant_length_changes_only_the_length_guard_of_gfu(arms):
    recipe = load_recipe("starter")
    same = arms.recipe_for(recipe, FULL, 7)
    held = arms.recipe_for(recipe, "constant_length", 7)
    assert same.seed == held.seed == 7
    assert same.model_copy(update={"seed": recipe.seed}) == recipe
    assert held.generation_for_understanding.rewards.length == arms.CONSTANT_LENGTH
    before, after = same.model_dump(), held.model_dump()
    after[arms.GFU]["rewards"]["length"] = before[arms.GFU]["rewards"]["length"]
    assert before == after


def test_every_comparison_is_between_models_that_are_made(arms):
    found = arms.comparisons(tuple(arms.ARMS))
    assert all(one.before.exists and one.after.exists for one in found)
    assert len({one.name for one in found}) == len(found)
    assert len(arms.comparisons((FULL,))) == 4


def test_tables_and_claims_say_what_the_numbers_say(arms, table, judged, tmp_path):
    def seeds(score):
        return [
            judged(**{"overall": [score, score], "held-out scorers": [score, score]})
            for _ in range(2)
        ]

    stages = arms.ARMS[FULL].stages
    points = {arms.Point(FULL, stage): seeds(70.0 + n) for n, stage in enumerate(stages)}
    settings = {
        "recipe": "starter", "data": "starter", "seeds": [0, 1], "arms": [FULL], "num_scenes": 2,
        "heldout_slots": ["dinov2"], "num_threads": 1, "seconds": 60.0, "num_code_versions": 2,
    }  # fmt: skip
    effect = table.find_effect(points, arms.comparisons((FULL,)), settings)
    claims = {text: (holds, wide) for text, holds, wide in effect.claims()}
    assert claims["overall rises: all stages after Stage 1"] == (True, True)
    assert claims["caption_words rises: GfU"] == (None, None)
    table.write_json(effect, tmp_path / "effect.json")
    content = json.loads((tmp_path / "effect.json").read_text())
    assert content["differences"][0]["measures"]["overall"]["difference"] == 3.0
    assert content["levels"][-1]["overall"]["mean"] == 73.0
    table.write_markdown(effect, tmp_path / "effect.md", "effect.png")
    text = (tmp_path / "effect.md").read_text()
    assert "| overall | 70.00 | 73.00 | +3.00 [+3.00, +3.00] | above zero |" in text
    assert "2 versions of the code" in text
