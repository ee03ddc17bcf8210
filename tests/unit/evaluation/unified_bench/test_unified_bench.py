import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet
import pytest
import torch

from uae.data.dataset import Dataset, load_dataset
from uae.data.starter.captions import complete_caption
from uae.errors import EvaluationError
from uae.evaluation.pictures import read_png
from uae.evaluation.systems.bundle import BundleSystem
from uae.evaluation.unified_bench.run import evaluate, evaluate_system, make_round_trips, summarise
from uae.evaluation.unified_bench.scorers import SlotScorer, load_scorer_slot


class RedGreen(SlotScorer):
    """The feature of a picture is its mean red and green."""

    def __init__(self):
        super().__init__(
            "red-green",
            lambda pictures: torch.tensor(np.stack([p.mean(axis=(0, 1))[:2] for p in pictures])),
            {"kind": "test"},
        )


def test_overall_is_the_mean_of_the_slots_worked_by_hand(recipe_with, data, painter, scenes):
    trips = make_round_trips(
        recipe_with(num_samples=2),
        load_dataset(data / "heldout"),
        painter({complete_caption(facts): facts for facts in scenes}, scenes),
    )
    cosines = {"a": np.array([0.5, 0.7]), "b": np.array([1.0, 0.8])}
    results = summarise(recipe_with(bootstrap_resamples=200), trips, cosines)
    assert results["slots"]["a"]["score"] == pytest.approx(60)
    assert results["slots"]["b"]["score"] == pytest.approx(90)
    assert results["overall"] == pytest.approx(75)
    # both samples have mean 75 over the slots: no spread, though each slot has one
    assert results["interval"] == pytest.approx((75, 75))
    assert results["slots"]["a"]["interval"] == pytest.approx((50, 70))
    assert results["attribute_recall"] == 1.0
    assert results["repetition"] < 0.5


def test_a_perfect_system_scores_one_hundred(recipe_with, data, painter, scenes, tmp_path, weights):
    system = painter({complete_caption(facts): facts for facts in scenes}, scenes)
    scorers = {"clip": load_scorer_slot("clip", weights), "colors": RedGreen()}
    dataset = load_dataset(data / "heldout")
    results = evaluate_system(recipe_with(num_samples=9), dataset, system, scorers, tmp_path)
    assert results["overall"] == pytest.approx(100, abs=1e-4)
    assert results["num_samples"] == 9
    assert results["text_fidelity"] in (1.0, None)


def test_a_system_that_paints_something_else_scores_less(
    recipe_with, data, painter, scenes, tmp_path
):
    others = [*scenes[1:], scenes[0]]
    system = painter(dict(zip(map(complete_caption, scenes), others, strict=True)), scenes)
    dataset = load_dataset(data / "heldout")
    results = evaluate_system(recipe_with(), dataset, system, {"c": RedGreen()}, tmp_path)
    assert results["overall"] < 99.9


def test_a_bundle_is_judged_with_evidence_for_every_sample(recipe_with, data, weights, tmp_path):
    recipe = recipe_with(num_samples=5, batch_size=2)
    results = evaluate(recipe, data, weights / "autoencoder", tmp_path)
    assert json.loads((tmp_path / "results.json").read_text()) == results
    assert results["protocol"] == "unified-bench"
    assert set(results["slots"]) == set(recipe.evaluation.slots)
    assert results["slots"]["dinov3"]["scorer"] == "efficientnet-lite0"
    rows = pyarrow.parquet.read_table(tmp_path / "samples.parquet").to_pylist()
    assert [row["image_id"] for row in rows] == [f"heldout-{index}" for index in range(5)]
    for row in rows:
        assert read_png(tmp_path / row["original"]).shape == (32, 32, 3)
        assert read_png(tmp_path / row["reconstruction"]).shape == (32, 32, 3)
    means = {slot: np.mean([row[f"slots/{slot}"] for row in rows]) for slot in results["slots"]}
    for slot, mean in means.items():
        assert results["slots"][slot]["score"] == pytest.approx(mean)
    assert results["overall"] == pytest.approx(np.mean(list(means.values())))
    low, high = results["interval"]
    assert low <= results["overall"] <= high


def test_results_do_not_depend_on_the_batch_size_and_repeat(recipe_with, data, weights, tmp_path):
    first, again, small = (
        evaluate(
            recipe_with(batch_size=size, slots={"dinov3": "ssl"}),
            data,
            weights / "autoencoder",
            tmp_path / str(index),
        )
        for index, size in enumerate((4, 4, 1))
    )
    assert first == again
    assert small["overall"] == pytest.approx(first["overall"], abs=0.05)  # 8-bit rounding


def test_fewer_pictures_than_asked_for_are_all_used_and_none_is_an_error(
    recipe_with, data, painter, scenes, tmp_path
):
    system = painter({complete_caption(facts): facts for facts in scenes}, scenes)
    dataset = load_dataset(data / "heldout")[:3]
    results = evaluate_system(recipe_with(), dataset, system, {"c": RedGreen()}, tmp_path)
    assert (results["num_samples"], results["num_samples_requested"]) == (3, 4)
    with pytest.raises(EvaluationError, match="held-out split is empty"):
        make_round_trips(recipe_with(), Dataset([]), system)


def test_unknown_facts_leave_recall_and_fidelity_empty(recipe_with, data, weights, tmp_path):
    bare = Dataset([replace(s, facts=None) for s in load_dataset(data / "heldout")[:3]])
    recipe = recipe_with()
    system = BundleSystem.load(weights / "autoencoder", recipe.evaluation)
    results = evaluate_system(recipe, bare, system, {"c": RedGreen()}, tmp_path)
    assert results["attribute_recall"] is None
    assert results["text_fidelity"] is None
    assert results["intervals"]["attribute_recall"] is None


def test_a_broken_picture_stops_the_benchmark(recipe_with, data, tmp_path, painter):
    class Broken(painter):
        def __init__(self):
            super().__init__({})

        def caption(self, images_BCHW, *, seed):
            return ["a cat"] * len(images_BCHW)

        def generate(self, texts, *, seeds, overlong="error"):
            return torch.full((len(texts), 3, 64, 64), float("nan"))

    with pytest.raises(EvaluationError, match=r"\[0, 1, 2, 3\].*NaN"):
        evaluate_system(
            recipe_with(), load_dataset(data / "heldout"), Broken(), {"c": RedGreen()}, tmp_path
        )
