"""From samples to scores: means with intervals, and honest bounds where verdicts are missing."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from uae.evaluation.bootstrap import COVERAGE, Interval, bootstrap_interval
from uae.evaluation.results import Part


class Score(NamedTuple):
    """A score, or the bounds between which it must lie."""

    score: float | None
    bounds: Interval | None


def score_or_bounds(
    values: Sequence[float | None],
    score: Callable[[Sequence[float]], float],
    *,
    worst: float = 0.0,
    best: float = 1.0,
) -> Score:
    """Return the score of all samples, or where it must lie while some have no verdict.

    A sample without a verdict is neither dropped nor counted as wrong: the score stays open, and
    the bounds say what it would be if all of them were worst, or best.

    Args:
        values: One for each sample; None has no verdict.
        score: Computes the score from the values; must rise with each.
        worst: The lowest value that a sample can have.
        best: The highest.
    """
    known = [value for value in values if value is not None]
    if len(known) == len(values):
        return Score(score(known), None)
    low, high = (
        score([fill if value is None else value for value in values]) for fill in (worst, best)
    )
    return Score(None, Interval(low, high))


def mean_part(values: Sequence[float | None], resamples: int, seed: int) -> Part:
    """Return the mean of the values that are there, with its interval and their number."""
    known = [value for value in values if value is not None]
    if not known:
        return Part(score=None, interval=None, num_samples=0)
    return Part(
        score=float(np.mean(known)),
        interval=bootstrap_interval(known, resamples, seed),
        num_samples=len(known),
    )


def pooled_part(groups: Sequence[Sequence[float]], resamples: int, seed: int) -> Part:
    """Return the mean of all values; groups, such as prompts with many questions, are resampled.

    Args:
        groups: For each of them its values, which may be none: such a group does not count.
        resamples: Number of draws.
        seed: Of the draws.
    """
    held = [values for values in groups if values]
    if not held:
        return Part(score=None, num_samples=0)
    sums = np.array([math.fsum(values) for values in held])
    counts = np.array([len(values) for values in held])
    picks = np.random.default_rng(seed).integers(0, len(held), size=(resamples, len(held)))
    means = sums[picks].sum(axis=1) / counts[picks].sum(axis=1)
    low, high = np.quantile(means, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return Part(
        score=float(sums.sum() / counts.sum()),
        interval=Interval(float(low), float(high)),
        num_samples=len(held),
    )
