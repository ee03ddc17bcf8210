import numpy as np
import pytest
from scipy.stats import gmean

from uae.evaluation.geneval_2.soft_tifa import arithmetic_mean, geometric_mean, pooled_part


def test_means_by_hand():
    assert arithmetic_mean([0.2, 0.8]) == pytest.approx(0.5)
    assert geometric_mean([0.2, 0.8]) == pytest.approx(0.4)  # sqrt(0.16)


def test_one_impossible_answer_makes_the_prompt_impossible():
    assert geometric_mean([0.0, 1.0, 1.0]) == 0.0
    assert arithmetic_mean([0.0, 1.0, 1.0]) == pytest.approx(2 / 3)


def test_certain_answers_give_exactly_one():
    assert geometric_mean([1.0] * 7) == arithmetic_mean([1.0] * 7) == 1.0


def test_the_geometric_mean_is_scipys():
    rng = np.random.default_rng(0)
    for size in (1, 3, 20):
        values = rng.uniform(1e-9, 1, size).tolist()
        assert geometric_mean(values) == pytest.approx(gmean(values), rel=1e-12)


def test_the_geometric_mean_is_never_above_the_arithmetic_one():
    rng = np.random.default_rng(1)
    for _ in range(50):
        values = rng.uniform(0, 1, 5).tolist()
        assert geometric_mean(values) <= arithmetic_mean(values) + 1e-15


def test_atoms_count_the_same_whatever_prompt_they_are_of():
    part = pooled_part([[1.0, 1.0, 1.0], [0.0], []], resamples=200, seed=0)
    assert part.score == pytest.approx(3 / 4)  # not (1 + 0) / 2
    assert part.num_samples == 2
    assert (part.interval.low, part.interval.high) == (0.0, 1.0)  # prompts are drawn, not atoms


def test_a_skill_that_is_not_asked_for_has_no_score():
    part = pooled_part([[], []], resamples=10, seed=0)
    assert (part.score, part.interval, part.num_samples) == (None, None, 0)
