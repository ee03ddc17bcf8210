import numpy as np
import pytest

from uae.evaluation.bootstrap import (
    bootstrap_interval,
    group_mean_interval,
    paired_interval,
    random_effects_interval,
    seeds_and_samples_interval,
)


def test_equal_values_have_no_spread():
    assert bootstrap_interval([3.0, 3.0, 3.0], 50, seed=0) == (3.0, 3.0)


def test_interval_has_the_width_of_the_normal_approximation():
    values = np.random.default_rng(0).normal(5.0, 2.0, size=400)
    low, high = bootstrap_interval(values, 4000, seed=1)
    half = 1.96 * values.std() / np.sqrt(400)
    assert low == pytest.approx(values.mean() - half, abs=0.03)
    assert high == pytest.approx(values.mean() + half, abs=0.03)


def test_pairing_removes_what_the_samples_share():
    hard = np.arange(50.0)
    low, high = paired_interval(hard, hard + 0.5, 200, seed=0)
    assert (low, high) == (0.5, 0.5)


def test_sign_of_a_paired_difference_is_after_minus_before():
    low, high = paired_interval([2.0, 2.0], [1.0, 1.0], 20, seed=0)
    assert low == high == -1.0


def test_groups_count_the_same_whatever_their_size():
    low, high = group_mean_interval([[1.0] * 100, [0.0]], 100, seed=0)
    assert low == high == 0.5


def test_same_seed_same_interval_and_another_seed_another_one():
    values = np.random.default_rng(0).normal(size=30)
    assert bootstrap_interval(values, 100, 7) == bootstrap_interval(values, 100, 7)
    assert bootstrap_interval(values, 100, 7) != bootstrap_interval(values, 100, 8)


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [[1.0], [2.0]]])
def test_values_that_cannot_be_resampled_are_refused(values):
    with pytest.raises(ValueError, match="finite"):
        bootstrap_interval(values, 10, 0)


def test_unpaired_lengths_are_refused():
    with pytest.raises(ValueError, match="equal lengths"):
        paired_interval([1.0], [1.0, 2.0], 10, 0)


def test_seeds_are_resampled_before_samples():
    # Two seeds that differ by 1 on every sample: both draws are one seed with probability 1/4.
    low, high = seeds_and_samples_interval([[0.0] * 50, [1.0] * 50], 4000, seed=0)
    assert (low, high) == (0.0, pytest.approx(1.0))


def test_seeds_share_the_drawn_samples():
    # Three equal seeds, samples 0 and 1: the mean is 0, 1/2, 1 with probability 1/4, 1/2, 1/4, as
    # for one seed. Samples drawn apart for each seed would give 0 with probability 1/64 only.
    low, high = seeds_and_samples_interval([[0.0, 1.0]] * 3, 4000, seed=0)
    assert (low, high) == (0.0, pytest.approx(1.0))


def test_one_seed_is_the_plain_bootstrap():
    values = np.random.default_rng(0).normal(2.0, 1.0, size=100)
    low, high = seeds_and_samples_interval([values], 8000, seed=1)
    plain = bootstrap_interval(values, 8000, seed=2)
    assert (low, high) == pytest.approx(plain, abs=0.02)


def test_interval_adds_the_variances_of_seeds_and_samples():
    # value = a_s + b_n: Var(mean) = Var(a) / S + Var(b) / N, with the biased variances.
    a, b = np.random.default_rng(3).normal(size=20), np.random.default_rng(4).normal(size=50)
    low, high = seeds_and_samples_interval(a[:, None] + b, 8000, seed=5)
    std = np.sqrt(a.var() / 20 + b.var() / 50)
    assert (high - low) / (2 * 1.96) == pytest.approx(std, rel=0.05)


@pytest.mark.parametrize("values", [[1.0, 2.0], [[]], [[1.0, float("nan")]]])
def test_values_without_seeds_and_samples_are_refused(values):
    with pytest.raises(ValueError, match=r"\(S, N\)"):
        seeds_and_samples_interval(values, 10, 0)


def test_random_effects_interval_is_students_with_satterthwaites_freedom():
    # Seeds' means 2 and 4: variance 2, over 2 seeds 1. Scenes' means 1.5, 3, 4.5: variance 2.25,
    # over 3 scenes 0.75. Freedom (1 + 0.75)^2 / (1^2 / 1 + 0.75^2 / 2) = 2.390; t(0.975) = 3.6949.
    low, high = random_effects_interval([[1, 2, 3], [2, 4, 6]])
    half = 3.6949 * 1.75**0.5
    assert (low, high) == pytest.approx((3 - half, 3 + half), rel=1e-4)


def test_random_effects_interval_covers_when_only_seeds_vary():
    rng = np.random.default_rng(0)
    draws = [np.repeat(rng.normal(size=(3, 1)), 5, axis=1) for _ in range(400)]
    covered = np.mean([low < 0 < high for low, high in map(random_effects_interval, draws)])
    assert 0.93 < covered < 0.97


@pytest.mark.parametrize("values", [[[1.0, 2.0]], [[1.0], [2.0]]])
def test_one_seed_or_one_scene_shows_no_variance(values):
    assert random_effects_interval(values) is None
