"""Percentile bootstrap intervals for means, paired differences, group means, and several seeds.

The unit that is resampled is the sample (image or prompt), never the single question, and where a
training was repeated also the seed: what was drawn independently is what may be drawn again.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

COVERAGE = 0.95


class Interval(NamedTuple):
    """A central 95 % interval; a tuple, so that it becomes `[low, high]` in JSON."""

    low: float
    high: float


def bootstrap_interval(values: ArrayLike, resamples: int, seed: int) -> Interval:
    """Return the interval of the mean of `values` (n,), in their own unit.

    Raises:
        ValueError: If there is no value, one is not finite, or resamples < 1.
    """
    return group_mean_interval([values], resamples, seed)


def paired_interval(a: ArrayLike, b: ArrayLike, resamples: int, seed: int) -> Interval:
    """Return the interval of mean(b) - mean(a), samples paired by position; a, b: (n,).

    Raises:
        ValueError: If the lengths differ, or as for `bootstrap_interval`.
    """
    before, after = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if before.shape != after.shape:
        raise ValueError(f"pairs need equal lengths, got {before.shape} and {after.shape}")
    return bootstrap_interval(after - before, resamples, seed)


def group_mean_interval(groups: Sequence[ArrayLike], resamples: int, seed: int) -> Interval:
    """Return the interval of the plain mean of the groups' means, resampling within each group.

    GenEval's score is such a mean: six tasks of different size, each counting the same.

    Raises:
        ValueError: If there is no group, a group is empty, a value is not finite, or resamples < 1.
    """
    arrays = [np.asarray(group, dtype=np.float64) for group in groups]
    if not arrays or resamples < 1:
        raise ValueError(f"nothing to resample: {len(arrays)} groups, {resamples=}")
    rng = np.random.default_rng(seed)
    return _central(np.mean([_resampled_means(array, resamples, rng) for array in arrays], axis=0))


def seeds_and_samples_interval(values_SN: ArrayLike, resamples: int, seed: int) -> Interval:
    """Return the interval of the mean over S training seeds and the N samples all were judged on.

    Seeds are drawn again first, then samples; one draw of samples serves all drawn seeds, because
    a sample that is hard is hard for every seed. (Independent draws would call that luck and give
    intervals that are too narrow.) This is the two-way bootstrap of Owen, "The pigeonhole
    bootstrap", Annals of Applied Statistics 1(2), 2007, with a factor that has few levels: S seeds
    show little of how much another seed could differ.

    Args:
        values_SN: For differences, already paired by seed and sample.
        resamples: Number of draws.
        seed: Of the draws.

    Raises:
        ValueError: If the shape is not (S, N), a value is missing or not finite, or resamples < 1.
    """
    values = np.asarray(values_SN, dtype=np.float64)
    if values.ndim != 2 or not values.size or not np.isfinite(values).all() or resamples < 1:
        raise ValueError(f"values must be finite and (S, N), got {values.shape}, {resamples=}")
    rng = np.random.default_rng(seed)
    num_seeds, num_samples = values.shape
    seeds_RS = rng.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), size=resamples)
    samples_RN = rng.multinomial(num_samples, np.full(num_samples, 1 / num_samples), resamples)
    return _central((seeds_RS @ values * samples_RN).sum(axis=1) / values.size)


def random_effects_interval(values_SN: ArrayLike) -> Interval | None:
    """Return Student's interval of the mean over S seeds and N samples, both of them drawn.

    Variances of seeds' means and of samples' means add up; degrees of freedom are Satterthwaite's,
    S - 1 where seeds differ more. Where S is small and seeds differ, this is much wider, and truer,
    than a bootstrap, which never looks beyond the seeds that it has.

    Args:
        values_SN: For differences, already paired by seed and sample.

    Returns:
        The interval; None for one seed or one sample, whose variance is unknown.

    Raises:
        ValueError: If the shape is not (S, N), or a value is missing or not finite.
    """
    values = np.asarray(values_SN, dtype=np.float64)
    if values.ndim != 2 or not values.size or not np.isfinite(values).all():
        raise ValueError(f"values must be finite and (S, N), got {values.shape}")
    num_seeds, num_samples = values.shape
    if min(num_seeds, num_samples) == 1:
        return None
    seeds = values.mean(axis=1).var(ddof=1) / num_seeds
    samples = values.mean(axis=0).var(ddof=1) / num_samples
    total = float(seeds + samples)
    mean = float(values.mean())
    if total == 0:
        return Interval(mean, mean)
    freedom = total**2 / (seeds**2 / (num_seeds - 1) + samples**2 / (num_samples - 1))
    from scipy.stats import t as student  # late: it takes longer than all the rest

    half = float(student.ppf((1 + COVERAGE) / 2, freedom)) * total**0.5
    return Interval(mean - half, mean + half)


def _central(means: NDArray[np.float64]) -> Interval:
    tail = (1 - COVERAGE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(low), float(high))


def _resampled_means(
    values: NDArray[np.float64], resamples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
        raise ValueError(f"values must be finite and (n,), got shape {values.shape}: {values}")
    picks = rng.integers(0, values.size, size=(resamples, values.size))
    means: NDArray[np.float64] = values[picks].mean(axis=1)
    return means
