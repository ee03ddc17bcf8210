"""Percentile bootstrap intervals for means, paired differences and means of group means.

The unit that is resampled is the sample (image or prompt), never the single question or seed:
what was drawn independently is what may be drawn again.
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
    means = np.mean([_resampled_means(array, resamples, rng) for array in arrays], axis=0)
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
