"""The shipped scorers, detector and judge do what their card says, on a few unseen scenes."""

import json
import random
from pathlib import Path

import pytest
import torch

from uae.base_weights.scorer_measures import draw, heldout_scenes
from uae.base_weights.variants import change_attributes
from uae.data.starter.vocabulary import STARTER_WEIGHTS
from uae.evaluation.dpg_bench.judging import check_on_scenes
from uae.evaluation.geneval.detector_loading import load_detector
from uae.evaluation.judges.starter import StarterJudge
from uae.evaluation.pictures import to_pixels
from uae.evaluation.unified_bench.scorers import load_scorer_slot

BUDGET_BYTES = {
    "scorers/clip": 1.1e6,
    "scorers/longclip": 1.1e6,
    "scorers/ssl": 0.75e6,
    "detector": 1.7e6,
    "judge": 4.1e6,
}


@pytest.mark.parametrize("name", ["clip", "longclip", "ssl"])
def test_cosine_falls_with_every_changed_pair_of_attributes(name: str):
    scorer = load_scorer_slot(name, STARTER_WEIGHTS)
    scenes = heldout_scenes(20, seed=7, min_objects=2)

    def features(num_changes: int | None) -> torch.Tensor:
        rng = random.Random(5)
        varied = scenes
        if num_changes is not None:
            varied = [change_attributes(facts, num_changes, rng) for facts in scenes]
        return scorer.features(to_pixels(draw(varied)), batch_size=20)

    original = features(None)
    cosines = [float((features(k) * original).sum(-1).mean()) for k in (0, 2, 4, 6)]
    assert cosines == sorted(cosines, reverse=True)
    assert cosines[0] > 0.9
    assert cosines[0] - cosines[-1] > 0.2


def test_detector_finds_most_objects_and_little_else():
    detector = load_detector(STARTER_WEIGHTS / "detector", batch_size=20)
    scenes = heldout_scenes(20, seed=3)
    found = detector.detect(to_pixels(draw(scenes)))
    right = total = detected = 0
    for detections, facts in zip(found, scenes, strict=True):
        names = [thing.name for thing in facts.objects]
        total, detected = total + len(names), detected + len(detections)
        for detection in detections:
            if detection.name in names:
                names.remove(detection.name)
                right += 1
    assert right / total > 0.85
    assert right / detected > 0.85


def test_judge_answers_most_questions_rightly():
    judge = StarterJudge.load(STARTER_WEIGHTS / "judge")
    scenes = heldout_scenes(16, seed=3)
    assert check_on_scenes(judge, scenes, seed=0, batch_size=64).accuracy > 0.85


@pytest.mark.parametrize(("name", "budget"), BUDGET_BYTES.items())
def test_shipped_size_and_figures(name: str, budget: float):
    folder: Path = STARTER_WEIGHTS / name
    weights = list(folder.glob("*.safetensors"))
    assert sum(file.stat().st_size for file in weights) < budget
    assert json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
