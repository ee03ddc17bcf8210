"""Held-out pictures through the stages: what was seen, said, and drawn again from what was said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from uae.data.facts import SceneFacts
from uae.data.words import count_words
from uae.errors import DataError, EvaluationError
from uae.evaluation.results import Sample
from uae.evaluation.results import read_samples as read_rows
from uae.report.captions import Piece, mark_new_words
from uae.report.pictures import data_uri

NUM_IN_ORDER = 8  # shown in the order of the data, whatever their scores
NUM_EXTREMES = 2  # and the largest gains and losses


@dataclass(frozen=True)
class StageView:
    """One picture after one stage."""

    stage: str
    caption: list[Piece]
    num_words: int
    reconstruction: str  # data URI
    score: float  # points


@dataclass(frozen=True)
class SampleView:
    """One picture through all stages."""

    image_id: str
    original: str  # data URI
    stages: list[StageView]

    @property
    def gain(self) -> float:
        """Points won between the first and the last stage."""
        return self.stages[-1].score - self.stages[0].score


@dataclass(frozen=True)
class SampleChoice:
    """The pictures that the report shows, and why these."""

    in_order: list[SampleView]
    largest_gains: list[SampleView]
    largest_losses: list[SampleView]
    num_samples: int


def read_samples(folder: Path) -> dict[str, Sample]:
    """Read `samples.parquet` of a Unified-Bench result: picture -> sample.

    Raises:
        DataError: If the file is missing or of another schema.
    """
    try:
        return {sample.sample_id: sample for sample in read_rows(folder)}
    except EvaluationError as error:
        raise DataError(f"no per-sample evidence: {error}; run the evaluation again") from error


def choose_samples(folders: Mapping[str, Path]) -> SampleChoice | None:
    """Pick pictures and follow them through the stages.

    Args:
        folders: Stage -> its Unified-Bench result, in the order of the stages.

    Returns:
        None if no stage was evaluated.
    """
    if not folders:
        return None
    rows = {stage: read_samples(folder) for stage, folder in folders.items()}
    first, last = next(iter(rows.values())), list(rows.values())[-1]
    ids = [image_id for image_id in first if all(image_id in stage for stage in rows.values())]
    in_order = ids[:NUM_IN_ORDER]
    rest = ids[NUM_IN_ORDER:] if len(rows) > 1 else []
    by_gain = sorted(rest, key=lambda image_id: _points(last[image_id]) - _points(first[image_id]))
    count = min(NUM_EXTREMES, len(by_gain) // 2)

    def views(chosen: Sequence[str]) -> list[SampleView]:
        return [_view(image_id, folders, rows) for image_id in chosen]

    return SampleChoice(
        in_order=views(in_order),
        largest_gains=views(by_gain[::-1][:count]),
        largest_losses=views(by_gain[:count]),
        num_samples=len(ids),
    )


def paired_scores(
    before: Mapping[str, Sample], after: Mapping[str, Sample], slot: str | None
) -> tuple[list[float], list[float]]:
    """Return the points of two results, overall or in a slot, paired by picture.

    Raises:
        DataError: If the results are not about the same pictures.
    """
    if before.keys() != after.keys():
        odd = sorted(before.keys() ^ after.keys())
        raise DataError(f"two stages were judged on different pictures, e.g. {odd[:3]}")
    return [_points(one, slot) for one in before.values()], [
        _points(after[key], slot) for key in before
    ]


def _points(sample: Sample, slot: str | None = None) -> float:
    value = sample.score if slot is None else sample.evidence["scores"][slot]
    if value is None:
        raise DataError(f"picture {sample.sample_id} has no score: {sample.state}, {sample.reason}")
    return float(value)


def _view(
    image_id: str, folders: Mapping[str, Path], rows: Mapping[str, Mapping[str, Sample]]
) -> SampleView:
    stages: list[StageView] = []
    before: str | None = None
    for stage, folder in folders.items():
        row = rows[stage][image_id]
        known, caption = row.evidence.get("facts"), row.caption or ""
        pieces = mark_new_words(caption, before, SceneFacts.from_json(known) if known else None)
        before = caption
        picture = data_uri(folder / row.images["reconstruction"])
        stages.append(StageView(stage, pieces, count_words(caption), picture, _points(row)))
    first, folder = next(iter(folders.items()))
    original = data_uri(folder / rows[first][image_id].images["original"])
    return SampleView(image_id, original, stages)
