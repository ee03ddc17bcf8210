"""Held-out pictures through the stages: what was seen, said, and drawn again from what was said."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyarrow import parquet

from uae.data.facts import SceneFacts
from uae.data.words import count_words
from uae.errors import DataError
from uae.report.captions import Piece, mark_new_words
from uae.report.pictures import data_uri

NUM_IN_ORDER = 8  # shown in the order of the data, whatever their scores
NUM_EXTREMES = 2  # and the largest gains and losses

Row = dict[str, Any]


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


def read_samples(folder: Path) -> dict[str, Row]:
    """Read `samples.parquet` of a Unified-Bench result: image_id -> row.

    Raises:
        DataError: If the file is missing.
    """
    path = folder / "samples.parquet"
    if not path.is_file():
        raise DataError(f"no per-sample evidence at {path}: run the evaluation again")
    return {row["image_id"]: row for row in parquet.read_table(path).to_pylist()}


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
    by_gain = sorted(
        rest, key=lambda image_id: last[image_id]["overall"] - first[image_id]["overall"]
    )
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
    before: Mapping[str, Row], after: Mapping[str, Row], column: str
) -> tuple[list[float], list[float]]:
    """Return one column of two results, paired by image_id.

    Raises:
        DataError: If the results are not about the same pictures.
    """
    if before.keys() != after.keys():
        odd = sorted(before.keys() ^ after.keys())
        raise DataError(f"two stages were judged on different pictures, e.g. {odd[:3]}")
    return [row[column] for row in before.values()], [after[key][column] for key in before]


def _view(
    image_id: str, folders: Mapping[str, Path], rows: Mapping[str, Mapping[str, Row]]
) -> SampleView:
    stages: list[StageView] = []
    before: str | None = None
    for stage, folder in folders.items():
        row = rows[stage][image_id]
        facts = SceneFacts.from_json(json.loads(row["facts"])) if row.get("facts") else None
        pieces = mark_new_words(row["caption"], before, facts)
        before = row["caption"]
        picture = data_uri(folder / row["reconstruction"])
        num_words = count_words(row["caption"])
        stages.append(StageView(stage, pieces, num_words, picture, row["overall"]))
    first, folder = next(iter(folders.items()))
    return SampleView(image_id, data_uri(folder / rows[first][image_id]["original"]), stages)
