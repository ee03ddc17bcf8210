"""Paired differences on the same scenes, with intervals over seeds and scenes."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet
from numpy.typing import NDArray

from uae.errors import EvaluationError
from uae.evaluation.bootstrap import (
    Interval,
    random_effects_interval,
    seeds_and_samples_interval,
)

HELDOUT = "held-out scorers"
RESAMPLES = 10_000
CAPTION_MEASURES = (
    "attribute_recall",
    "attribute_precision",
    "caption_words",
    "text_fidelity",
    "repetition",
)


@dataclass(frozen=True)
class Judged:
    """One model's measures, scene by scene; unknown ones are NaN."""

    image_ids: tuple[str, ...]
    measures: Mapping[str, NDArray[np.float64]]  # (N,)


@dataclass(frozen=True)
class Level:
    """A measure's mean over seeds and scenes."""

    mean: float
    interval: Interval


@dataclass(frozen=True)
class Difference:
    """A measure after something minus the same before it."""

    before: float
    after: float
    difference: float
    interval: Interval
    wide_interval: Interval | None  # Student's, of seeds and scenes; None for a single one
    by_seed: tuple[float, ...]
    num_scenes: int

    @property
    def sign(self) -> int:
        """1 or -1 where the whole interval is above or below zero, else 0."""
        low, high = self.interval
        return 1 if low > 0 else -1 if high < 0 else 0


def read_judged(bench: Path, heldout_slots: Collection[str]) -> Judged:
    """Read one benchmark's samples.

    Args:
        bench: Folder with samples.parquet.
        heldout_slots: Slots whose scorer was no stage's reward; their mean is one measure.
    """
    columns = pyarrow.parquet.read_table(bench / "samples.parquet").to_pydict()
    slots = [name for name in columns if name.startswith("slots/")]
    measures = {
        name: np.array(columns[name], dtype=np.float64)  # None becomes NaN
        for name in ("overall", *slots, *CAPTION_MEASURES)
    }
    heldout = [measures[f"slots/{slot}"] for slot in heldout_slots]
    if heldout:
        measures[HELDOUT] = np.mean(heldout, axis=0)
    return Judged(tuple(columns["sample_id"]), measures)


def measure_names(judged: Judged) -> list[str]:
    """Return the measures in the order in which a table shows them."""
    slots = sorted(name for name in judged.measures if name.startswith("slots/"))
    names = ["overall", HELDOUT, *slots, *CAPTION_MEASURES]
    return [name for name in names if name in judged.measures]


def level(measure: str, judged: Sequence[Judged]) -> Level | None:
    """Return the mean over seeds, or None where the truth is unknown for all scenes."""
    values_SN = _known(measure, judged)
    if not values_SN.size:
        return None
    return Level(float(values_SN.mean()), seeds_and_samples_interval(values_SN, RESAMPLES, 0))


def difference(
    measure: str, before: Sequence[Judged], after: Sequence[Judged]
) -> Difference | None:
    """Return the mean of after - before, paired by seed and scene.

    Args:
        measure: Name of the measure.
        before: One entry for each seed.
        after: The same seeds in the same order.

    Returns:
        The difference, or None where the truth is unknown for all scenes.

    Raises:
        EvaluationError: If the scenes are not the same.
        ValueError: If there are not as many seeds on both sides.
    """
    if len(before) != len(after):
        raise ValueError(f"{len(before)} seeds before and {len(after)} after")
    both = _known(measure, [*before, *after])
    if not both.size:
        return None
    before_SN, after_SN = both[: len(before)], both[len(before) :]
    change_SN = after_SN - before_SN
    return Difference(
        float(before_SN.mean()),
        float(after_SN.mean()),
        float(change_SN.mean()),
        seeds_and_samples_interval(change_SN, RESAMPLES, 0),
        random_effects_interval(change_SN),
        tuple(change_SN.mean(axis=1).tolist()),
        change_SN.shape[1],
    )


def _known(measure: str, judged: Sequence[Judged]) -> NDArray[np.float64]:
    """Stack a measure over models, (S, N), for those scenes for which all of them have it."""
    if len({one.image_ids for one in judged}) > 1:
        raise EvaluationError("the models were judged on different scenes: judge them anew")
    values_SN = np.stack([one.measures[measure] for one in judged])
    known: NDArray[np.float64] = values_SN[:, np.isfinite(values_SN).all(axis=0)]
    return known
