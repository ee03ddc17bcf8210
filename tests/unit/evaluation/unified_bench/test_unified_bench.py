import json
from pathlib import Path

import numpy as np
import pytest
import torch

from uae.data.starter.captions import complete_caption
from uae.errors import EvaluationError
from uae.evaluation.benchmark_scenes import scene_picture
from uae.evaluation.journal import Shard, Unfinished
from uae.evaluation.pictures import read_png, write_png
from uae.evaluation.results import Sample, read_result, read_samples
from uae.evaluation.systems.base import Capabilities, Failure
from uae.evaluation.systems.bundle import BundleSystem
from uae.evaluation.unified_bench.run import run
from uae.evaluation.unified_bench.summary import make_result, measure_caption, slot_columns
from uae.recipe import UnifiedBenchRecipe

SLOTS = {"clip": "clip", "dinov2": "ssl"}
FILES = ("results.json", "samples.parquet", "evaluation.json")


def settings(**changes):
    values = {"pictures": "heldout", "num_samples": 10, "slots": SLOTS} | changes
    return UnifiedBenchRecipe(**values)


@pytest.fixture
def perfect(painter, scenes):
    """Make a system that paints exactly what it saw."""

    def make(**changes):
        return painter({complete_caption(f): f for f in scenes}, scenes, **changes)

    return make


def content(folder: Path) -> dict[str, bytes]:
    names = [*FILES, *(str(path.relative_to(folder)) for path in folder.rglob("*.png"))]
    return {name: (folder / name).read_bytes() for name in sorted(names)}


STAMPS = {
    "benchmark": "unified_bench",
    "protocol": "unified-bench",
    "version": 2,
    "prompts": {"name": "heldout", "source": "heldout", "sha256": "0" * 64, "count": 2},
    "system": {},
    "generation": {},
    "judges": {},
    "settings": {},
    "self_test": None,
    "key": "",
}


def summarised(*cosines, captions=("a cat", "a dog"), resamples=200):
    slots = ["a", "b"]
    samples = [
        Sample(
            sample_id=str(number),
            part="",
            state="scored" if values else "missing",
            score=slot_columns(values, slots)["overall"],
            reason="",
            prompt="",
            caption=caption or "",
            seed=0,
            images={},
            evidence={},
            **slot_columns(values, slots),
            **measure_caption(caption, None),
        )
        for number, (values, caption) in enumerate(zip(cosines, captions, strict=True))
    ]
    return make_result(samples, slots, resamples=resamples, seed=0, **STAMPS)


def test_overall_is_the_mean_of_the_slots_worked_by_hand():
    result = summarised({"a": 0.5, "b": 1.0}, {"a": 0.7, "b": 0.8})
    assert result.parts["a"].score == pytest.approx(60)
    assert result.parts["b"].score == pytest.approx(90)
    assert result.score == pytest.approx(75)
    # both samples have mean 75 over the slots: no spread, though each slot has one
    assert result.interval == pytest.approx((75, 75))
    assert result.parts["a"].interval == pytest.approx((50, 70))
    assert result.metrics["caption_words"].score == 2
    assert result.metrics["text_fidelity"].score is None
    assert result.bounds is None
    assert result.complete


def test_a_missing_picture_leaves_the_score_open_between_bounds():
    result = summarised({"a": 0.5, "b": 1.0}, {}, captions=("a cat", None))
    assert result.score is None
    assert result.interval is None
    assert result.bounds == pytest.approx(((75 - 100) / 2, (75 + 100) / 2))
    assert (result.parts["a"].score, result.parts["a"].num_samples) == (None, 1)
    assert (result.metrics["caption_words"].score, result.states["missing"]) == (2, 1)


def test_a_perfect_system_scores_one_hundred(context, perfect, tmp_path, scenes):
    result = run(settings(num_samples=30), context(), perfect(), tmp_path)
    assert result.score == pytest.approx(100, abs=1e-4)
    assert result.num_samples == 30
    assert result.metrics["attribute_recall"].score == 1.0
    assert result.metrics["text_fidelity"].score == 1.0
    assert result.metrics["text_fidelity"].num_samples == sum(
        facts.word is not None for facts in scenes[:30]
    )
    assert result == read_result(tmp_path)
    assert result.settings["slots"]["dinov2"] == "ssl"
    assert result.judges["dinov2"].keys() == {"kind", "sha256"}
    assert result.judges["dinov2"]["kind"] == "dinov2"
    assert set(result.self_test["groups"]) == {
        f"{slot}/{answer}" for slot in SLOTS for answer in ("yes", "no")
    }


def test_a_system_that_paints_something_else_scores_less(context, painter, scenes, tmp_path):
    others = [*scenes[1:], scenes[0]]
    system = painter(dict(zip(map(complete_caption, scenes), others, strict=True)), scenes)
    assert run(settings(), context(), system, tmp_path).score < 99.9


def test_every_sample_has_its_evidence(context, recipe_with, weights, tmp_path):
    system = BundleSystem.of_run(weights / "autoencoder", recipe_with().evaluation)
    slots = SLOTS | {"dinov3": "efficientnet-lite0"}
    result = run(settings(num_samples=5, slots=slots), context(), system, tmp_path)
    samples = read_samples(tmp_path)
    assert [sample.sample_id for sample in samples] == [f"heldout-{index}" for index in range(5)]
    for sample in samples:
        # the original as it is in the data, not at the size that the system paints
        assert read_png(tmp_path / sample.images["original"]).shape == (64, 64, 3)
        assert read_png(tmp_path / sample.images["reconstruction"]).shape == (32, 32, 3)
        assert sample.score == pytest.approx(np.mean(list(sample.evidence["scores"].values())))
        assert sample.model_extra["overall"] == sample.score
        assert sample.evidence["facts"]["objects"]
    for slot, part in result.parts.items():
        points = [sample.model_extra[f"slots/{slot}"] for sample in samples]
        assert part.score == pytest.approx(np.mean(points))
        assert points == [sample.evidence["scores"][slot] for sample in samples]
    assert result.score == pytest.approx(np.mean([part.score for part in result.parts.values()]))
    low, high = result.interval
    assert low <= result.score <= high
    assert str(tmp_path) not in (tmp_path / "results.json").read_text()


@pytest.mark.parametrize("dies_after", [3, 9, 14, 19])
def test_a_killed_evaluation_ends_in_the_same_bytes(context, perfect, tmp_path, dies_after):
    run(settings(), context(), perfect(), tmp_path / "whole")
    with pytest.raises(RuntimeError, match="killed"):
        run(settings(), context(), perfect(dies_after=dies_after), tmp_path / "resumed")
    system = perfect()
    run(settings(), context(), system, tmp_path / "resumed")
    assert system.num_requests == 20 - dies_after // 8 * 8  # finished batches are not done again
    assert content(tmp_path / "whole") == content(tmp_path / "resumed")


def test_killed_while_scoring_nothing_is_painted_again(context, perfect, tmp_path, monkeypatch):
    def broken(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("uae.evaluation.unified_bench.features.FeatureReader.features", broken)
        with pytest.raises(KeyboardInterrupt):
            run(settings(), context(), perfect(), tmp_path / "resumed")
    system = perfect()
    run(settings(), context(), system, tmp_path / "resumed")
    assert system.num_requests == 0
    run(settings(), context(), perfect(), tmp_path / "whole")
    assert content(tmp_path / "whole") == content(tmp_path / "resumed")


@pytest.mark.parametrize("count", [2, 3, 5])
def test_any_number_of_shards_gives_the_same_bytes(context, perfect, tmp_path, count):
    run(settings(), context(), perfect(), tmp_path / "whole")
    for number in reversed(range(1, count)):
        with pytest.raises(Unfinished):
            run(settings(), context(shard=Shard(number, count)), perfect(), tmp_path / "cut")
    run(settings(), context(shard=Shard(0, count)), perfect(), tmp_path / "cut")
    assert content(tmp_path / "whole") == content(tmp_path / "cut")


def test_a_finished_evaluation_asks_nothing_again(context, perfect, tmp_path):
    first = run(settings(), context(), perfect(), tmp_path)
    system = perfect()
    assert run(settings(), context(), system, tmp_path) == first
    assert system.num_requests == 0


def test_failures_are_missing_never_zero_and_can_be_done_again(context, perfect, tmp_path, scenes):
    refused = complete_caption(scenes[1])
    result = run(settings(), context(), perfect(failing=[refused]), tmp_path)
    assert (result.score, result.states["missing"], result.states["scored"]) == (None, 1, 9)
    low, high = result.bounds
    assert (low, high) == pytest.approx(((900 - 100) / 10, 100), abs=1e-3)
    sample = read_samples(tmp_path)[1]
    assert (sample.state, sample.score, sample.reason) == ("missing", None, "refused")
    assert sample.caption == refused
    assert "reconstruction" not in sample.images
    retried = run(settings(), context(retry_failures=True), perfect(), tmp_path)
    assert retried.score == pytest.approx(100, abs=1e-4)
    whole = run(settings(), context(), perfect(), tmp_path / "whole")
    # one picture alone goes through the scorers otherwise than in its batch: not to the last bit
    assert retried.parts.keys() == whole.parts.keys()
    for slot, part in whole.parts.items():
        assert retried.parts[slot].score == pytest.approx(part.score, abs=1e-3)


def test_no_caption_is_missing_too_and_a_batch_may_fail_wholly(context, perfect, tmp_path):
    system = perfect()
    write = system.caption
    system.caption = lambda requests: [
        Failure("too dark") if int(request.place.split("-")[-1]) < 5 else caption
        for request, caption in zip(requests, write(requests), strict=True)
    ]
    result = run(settings(), context(), system, tmp_path)
    assert (result.states["missing"], result.states["scored"]) == (5, 5)
    sample = read_samples(tmp_path)[0]
    assert (sample.reason, sample.caption) == ("no caption: too dark", "")
    assert sample.model_extra["caption_words"] is None


def test_a_system_that_lacks_one_direction_is_refused(context, perfect, tmp_path):
    system = perfect()
    system.capabilities = Capabilities(captions=True, pictures=False)
    with pytest.raises(EvaluationError, match="paint pictures"):
        run(settings(), context(), system, tmp_path)


def test_another_scorer_seed_or_system_needs_another_folder(context, perfect, tmp_path):
    run(settings(), context(), perfect(), tmp_path)
    for other, its_context, system in (
        (settings(slots={"clip": "longclip", "dinov2": "ssl"}), context(), perfect()),
        (settings(), context(seed=1), perfect()),
        (settings(), context(), perfect(name="somebody")),
        (settings(num_samples=9), context(), perfect()),
    ):
        with pytest.raises(EvaluationError, match="another evaluation"):
            run(other, its_context, system, tmp_path)


def test_a_scorer_that_sees_nothing_scores_nothing(
    context, perfect, tmp_path, recipe_with, monkeypatch
):
    """Its pictures come out of the preprocessing all alike."""
    monkeypatch.setattr(
        "uae.evaluation.unified_bench.scorers.to_images",
        lambda pictures: torch.zeros(len(pictures), 3, 32, 32),
    )
    strict = context(judging=recipe_with(min_self_test_accuracy=0.9).evaluation)
    system = perfect()
    with pytest.raises(EvaluationError, match=r"the scorers.*'clip'.*nothing was scored"):
        run(settings(slots={"clip": "clip"}), strict, system, tmp_path)
    assert system.num_requests == 0


def test_a_vanished_reconstruction_is_an_error(context, perfect, tmp_path):
    shard = context(shard=Shard(1, 2))
    with pytest.raises(Unfinished):
        run(settings(), shard, perfect(), tmp_path)
    (tmp_path / "journal" / "scored" / "0000004.json").unlink()
    (tmp_path / "images" / "reconstruction" / "heldout-5.png").unlink()
    with pytest.raises(EvaluationError, match=r"heldout-5\.png"):
        run(settings(), shard, perfect(), tmp_path)


def test_fewer_pictures_than_asked_for_are_all_used(context, perfect, tmp_path, scenes):
    folder = tmp_path / "photos"
    for index in range(3):
        write_png(scene_picture(scenes[index]), folder / f"{index}.png")
    asked = settings(pictures=str(folder), num_samples=100)
    result = run(asked, context(), perfect(), tmp_path / "out")
    assert (result.num_samples, result.settings["num_samples"]) == (3, 100)
    assert (result.prompts.name, result.prompts.count) == ("pictures", 3)
    assert result.metrics["attribute_recall"].score is None  # nothing is known of them
    decides = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert str(tmp_path) not in json.dumps(decides)
