import json

import numpy as np
import pyarrow.parquet
import pytest

from uae.data.geneval import Include, Prompt
from uae.data.starter.prompts import scene_prompts
from uae.data.starter.scenes import draw_scene_with_masks
from uae.data.starter.vocabulary import CLASSES, COLORS
from uae.errors import EvaluationError
from uae.evaluation.benchmark_scenes import scene_picture
from uae.evaluation.geneval.images import paint_folder, sample_path
from uae.evaluation.geneval.rules import Detection
from uae.evaluation.geneval.run import (
    GenevalModels,
    evaluate,
    judge_pictures,
    score_folder,
    self_test,
    summarise,
)


class Oracle:
    """Detector and colour classifier that know the scenes; `blind` finds nothing."""

    classes = CLASSES
    colors = tuple(COLORS)

    def __init__(self, scenes, blind=False):
        self.identity = {"kind": "oracle"}
        self.blind = blind
        self.truth = {scene_picture(facts).tobytes(): facts for facts in scenes}

    def detect(self, pictures):
        return [[] if self.blind else self._objects(picture) for picture in pictures]

    def _objects(self, picture):
        facts = self.truth[picture.tobytes()]
        _, masks = draw_scene_with_masks(facts)
        pairs = zip(facts.objects, masks, strict=True)
        return [Detection(o.name, 0.95, o.box, mask) for o, mask in pairs]

    def classify(self, objects):
        return [
            next(o.color for o in self.truth[p.tobytes()].objects if o.box == d.box)
            for p, d in objects
        ]


def oracle_models(scenes, **options):
    oracle = Oracle(scenes, **options)
    return GenevalModels(oracle, oracle)


def test_self_test_passes_those_who_know_and_fails_the_blind(scenes):
    pairs = scene_prompts(scenes, 24)
    assert self_test(oracle_models(scenes), pairs).accuracy == 1.0
    blind = self_test(oracle_models(scenes, blind=True), pairs)
    assert blind.accuracy == 0.5  # right on every "no"
    with pytest.raises(EvaluationError, match=r"50\.0%.*90\.0% is required.*counting/yes"):
        blind.require(0.9)


def test_a_system_that_obeys_scores_one(scenes, painter, recipe_with, tmp_path):
    pairs = scene_prompts(scenes, 12)
    prompts = [prompt for prompt, _ in pairs]
    recipe = recipe_with(geneval_images_per_prompt=2)
    system = painter({prompt.text: facts for prompt, facts in pairs})
    paint_folder(recipe, system, prompts, tmp_path / "images")
    assert (
        json.loads((tmp_path / "images/00000/metadata.jsonl").read_text()) == prompts[0].to_json()
    )
    scored = score_folder(recipe, prompts, oracle_models(scenes), tmp_path)
    assert scored.results["score"] == 1.0
    assert scored.results["num_samples"] == 24
    assert len(scored.results["tasks"]) == 6
    assert {row["state"] for row in scored.samples} == {"correct"}
    matrix = np.array(scored.classification["colors"]["confusion"]["matrix"])
    assert matrix.sum() == matrix.trace() == 12  # every colour is seen as it was asked for


def test_missing_superfluous_and_foreign_pictures_are_named(scenes, painter, recipe_with, tmp_path):
    pairs = scene_prompts(scenes, 6)
    prompts = [prompt for prompt, _ in pairs]
    recipe = recipe_with()
    system = painter({prompt.text: facts for prompt, facts in pairs})
    folder = tmp_path / "images"
    paint_folder(recipe, system, prompts, folder)
    sample_path(folder, 1, 0).unlink()
    sample_path(folder, 2, 7).write_bytes(b"")
    (folder / "00003" / "metadata.jsonl").write_text("{}")
    (folder / "00004" / "metadata.jsonl").unlink()
    with pytest.raises(EvaluationError) as error:
        score_folder(recipe, prompts, oracle_models(scenes), tmp_path)
    for fault in (
        "missing 00001/samples/0000.png",
        "superfluous 00002/samples/0007.png",
        "00003/metadata.jsonl is another prompt",
        "missing 00004/metadata.jsonl",
    ):
        assert fault in str(error.value)


def test_an_undecodable_picture_is_an_error_not_a_zero(scenes, painter, recipe_with, tmp_path):
    pairs = scene_prompts(scenes, 6)
    prompts = [prompt for prompt, _ in pairs]
    recipe = recipe_with()
    paint_folder(recipe, painter({p.text: f for p, f in pairs}), prompts, tmp_path / "images")
    sample_path(tmp_path / "images", 0, 0).write_bytes(b"not a picture")
    with pytest.raises(EvaluationError, match=r"00000/samples/0000\.png"):
        score_folder(recipe, prompts, oracle_models(scenes), tmp_path)


def test_score_is_the_mean_of_task_means_worked_by_hand(recipe_with):
    prompts = [Prompt(tag, text, (Include("cat", 1),)) for tag, text in
               [("single_object", "a"), ("single_object", "b"), ("colors", "c")]]  # fmt: skip
    correct = np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    results = summarise(recipe_with(), prompts, correct)
    assert results["tasks"] == {"single_object": 0.75, "colors": 0.0}
    assert results["score"] == 0.375
    assert results["correct_images"] == 0.5
    assert results["correct_prompts"] == pytest.approx(2 / 3)


def test_colors_are_classified_once_and_only_where_asked(scenes):
    asked = []

    class Counting(Oracle):
        def classify(self, objects):
            asked.append(len(objects))
            return super().classify(objects)

    models = GenevalModels(Oracle(scenes), Counting(scenes))
    pairs = scene_prompts(scenes, 12)
    pictures = [scene_picture(facts) for _, facts in pairs]
    judge_pictures(models, pictures, [prompt for prompt, _ in pairs])
    # one call for all: 2 prompts ask for one colour, 2 for two, and the others for none
    assert asked == [6]


def test_prompts_beyond_the_models_vocabulary_are_refused(scenes):
    unknown = Prompt("colors", "a teal zebra", (Include("zebra", 1, "teal"),))
    with pytest.raises(EvaluationError, match=r"\['zebra'\].*\['teal'\]"):
        judge_pictures(oracle_models(scenes), [scene_picture(scenes[0])], [unknown])


def test_a_bundle_is_judged_end_to_end_and_the_weak_judge_refused(
    recipe_with, data, weights, tmp_path
):
    results = evaluate(recipe_with(), data, weights / "autoencoder", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "results.json").read_text()) == results
    assert 0 <= results["score"] <= 1
    assert results["prompts"]["source"] == "data"
    assert results["judges"]["detector"]["kind"] == "mask2former"
    check, colors = (results["classification"][name] for name in ("self_test", "colors"))
    # 12 prompts: 2 ask for one colour, 2 for two, each of one picture
    assert sum(map(sum, colors["confusion"]["matrix"])) == 6
    assert colors["confusion"]["categories"][: len(COLORS)] == list(COLORS)
    assert check["confusion"]["categories"] == ["yes", "no"]
    rows = pyarrow.parquet.read_table(tmp_path / "out" / "samples.parquet").to_pylist()
    assert len(rows) == results["num_samples"] == 12
    assert all((tmp_path / "out" / row["image"]).is_file() for row in rows)
    with pytest.raises(EvaluationError, match="self-test failed"):
        evaluate(
            recipe_with(min_self_test_accuracy=0.9), data, weights / "autoencoder", tmp_path / "no"
        )
    assert not (tmp_path / "no").exists()
