"""Unified-Bench's samples and scores, from captions and cosines."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from uae.data.facts import SceneFacts
from uae.data.starter.attributes import attribute_precision, attribute_recall, text_fidelity
from uae.data.words import count_words
from uae.evaluation.results import Part, Result, Sample, count_states
from uae.evaluation.scoring import mean_part, score_or_bounds
from uae.rewards.guards import repetition

WORST, BEST = -100.0, 100.0  # cosine x 100
MEASURES = (
    "caption_words", "repetition", "attribute_recall", "attribute_precision", "text_fidelity",
)  # fmt: skip


def measure_caption(caption: str | None, facts: SceneFacts | None) -> dict[str, float | None]:
    """Return what a caption is like: shares 0 to 1 but for its words; None where unknown."""
    if caption is None:
        return dict.fromkeys(MEASURES)
    told = {
        "attribute_recall": attribute_recall,
        "attribute_precision": attribute_precision,
        "text_fidelity": text_fidelity,
    }
    return {
        "caption_words": float(count_words(caption)),
        "repetition": repetition(caption),
        **{name: None if facts is None else of(caption, facts) for name, of in told.items()},
    }


def slot_columns(cosines: Mapping[str, float], slots: Sequence[str]) -> dict[str, float | None]:
    """Return a sample's own columns: its points in every slot and their mean, None if missing."""
    points = [100 * cosines[slot] for slot in slots] if cosines else [None] * len(slots)
    columns = {f"slots/{slot}": value for slot, value in zip(slots, points, strict=True)}
    return {"overall": overall_points(cosines), **columns}


def overall_points(cosines: Mapping[str, float]) -> float | None:
    """Return 100 x the arithmetic mean of the slots' cosines; None where there are none."""
    return float(100 * np.mean(list(cosines.values()))) if cosines else None


def make_result(
    samples: Sequence[Sample],
    slots: Sequence[str],
    *,
    resamples: int,
    seed: int,
    **stamps: Any,
) -> Result:
    """Return the scores of all samples.

    Args:
        samples: With the columns of `slot_columns` and `measure_caption`.
        slots: In order.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.
        stamps: The result's remaining fields.
    """
    values = [sample.score for sample in samples]
    found = score_or_bounds(values, lambda known: float(np.mean(known)), worst=WORST, best=BEST)
    columns = [sample.model_extra or {} for sample in samples]
    slot_values = {slot: [row[f"slots/{slot}"] for row in columns] for slot in slots}
    return Result(
        unit="points",
        score=found.score,
        interval=_complete(values, resamples, seed).interval,
        bounds=found.bounds,
        num_samples=len(samples),
        states=count_states(samples),
        parts={slot: _complete(column, resamples, seed) for slot, column in slot_values.items()},
        metrics={
            name: mean_part([row[name] for row in columns], resamples, seed) for name in MEASURES
        },
        **stamps,
    )


def _complete(points: Sequence[float | None], resamples: int, seed: int) -> Part:
    """Return a mean; none while samples are missing, which it must not drop."""
    part = mean_part(points, resamples, seed)
    if part.num_samples == len(points):
        return part
    return Part(score=None, interval=None, num_samples=part.num_samples)
