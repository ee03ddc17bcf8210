import pytest

from uae.evaluation.scoring import mean_part, pooled_part, score_or_bounds


def mean(values):
    return sum(values) / len(values)


def test_all_judged_is_the_plain_score():
    assert score_or_bounds([1, 0, 1, 1], mean) == (0.75, None)


def test_without_a_verdict_the_score_is_open_between_its_bounds():
    # of four, one is unknown: 2/4 if it is wrong, 3/4 if it is right; never 2/3, never 2/4 alone
    assert score_or_bounds([1, None, 1, 0], mean) == (None, (0.5, 0.75))


def test_bounds_are_in_the_unit_of_the_score():
    assert score_or_bounds([80.0, None], mean, worst=-100, best=100) == (None, (-10, 90))


def test_part_counts_what_is_there():
    part = mean_part([1.0, None, 0.0], resamples=50, seed=0)
    assert (part.score, part.num_samples) == (0.5, 2)
    assert part.interval[0] <= 0.5 <= part.interval[1]
    assert mean_part([None], resamples=50, seed=0).score is None


def test_constant_values_have_a_point_as_interval():
    assert mean_part([2.0, 2.0], resamples=50, seed=0).interval == pytest.approx((2, 2))


def test_pooled_values_count_the_same_whatever_group_they_are_of():
    part = pooled_part([[1.0, 1.0, 1.0], [0.0], []], resamples=200, seed=0)
    assert part.score == pytest.approx(3 / 4)  # not (1 + 0) / 2
    assert part.num_samples == 2
    assert (part.interval.low, part.interval.high) == (0.0, 1.0)  # groups are drawn, not values


def test_groups_without_values_have_no_score():
    part = pooled_part([[], []], resamples=10, seed=0)
    assert (part.score, part.interval, part.num_samples) == (None, None, 0)


def test_groups_of_one_mean_have_a_point_as_interval():
    assert pooled_part([[True, False]] * 5, resamples=20, seed=0).interval == (0.5, 0.5)
