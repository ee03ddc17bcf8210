"""The artwork judge on drawn scenes, and on what it must refuse."""

import random

import numpy as np
import pytest

from uae.data.starter.reader import read_scene
from uae.data.starter.scenes import draw_scene, sample_facts
from uae.errors import EvaluationError
from uae.evaluation.artwork_judge import ArtworkJudge
from uae.evaluation.claims import false_claims, true_claims


def test_drawn_scenes_are_read_back():
    rng = random.Random(5)
    for _ in range(30):
        facts = sample_facts(rng)
        read = read_scene(np.asarray(draw_scene(facts)))
        assert (read.background, read.word) == (facts.background, facts.word)
        assert [(o.name, o.color, o.size, o.place) for o in read.objects] == [
            (o.name, o.color, o.size, o.place) for o in facts.objects
        ]


def test_true_claims_get_yes_and_false_ones_no():
    rng = random.Random(6)
    facts = sample_facts(rng)
    true, false = true_claims(facts), false_claims(facts, rng)
    questions = [claim.question for claim in [*true, *false]]
    answers = ArtworkJudge().probabilities(
        [np.asarray(draw_scene(facts))], questions, [0] * len(questions)
    )
    assert answers.tolist() == [1.0] * len(true) + [0.0] * len(false)


def test_other_questions_and_sizes_are_refused():
    picture = np.zeros((64, 64, 3), dtype=np.uint8)
    with pytest.raises(EvaluationError, match="not a starter question"):
        ArtworkJudge().probabilities([picture], ["Is it raining?"], [0])
    with pytest.raises(EvaluationError, match="64 x 64"):
        ArtworkJudge().probabilities([picture[:32]], ["Is there a cat?"], [0])
