import numpy as np
import pytest

from uae.evaluation.bootstrap import bootstrap_interval, group_mean_interval, paired_interval


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
