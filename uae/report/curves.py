"""Training curves from `metrics.jsonl`: which metrics matter, and in which order they are shown.

A row's `step` counts from 0; `start/<metric>` is the metric before the first update. The charts
count finished updates, so a start stands at 0 and the first row at 1.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from uae.errors import DataError
from uae.report.charts import Located, Series, cloud_chart, line_chart
from uae.report.page import number

Row = dict[str, float]

TITLES = {  # in the order in which they are shown; the first six are seen without a click
    "reward/mean": "Reward",
    "loss": "Loss",
    "validation/loss": "Validation loss",
    "caption_words": "Caption length in words",
    "kl": "KL to the stage's start",
    "entropy": "Entropy of the policy",
    "clip_share": "Share of clipped terms",
    "reward/std": "Spread of the reward",
    "reward/zero_std_share": "Groups without spread",
    "ratio/mean": "Mean ratio",
    "ratio/max_deviation": "Largest |ratio - 1|",
    "grad_norm": "Gradient norm",
    "learning_rate": "Learning rate",
    "images_per_second": "Images per second",
    "tokens_per_second": "Tokens per second",
    "caption_tokens": "Caption length in tokens",
    "caption_cut_share": "Captions cut at the longest allowed",
    "seconds": "Seconds for an update",
}
COMPANIONS = {  # drawn as dots in the chart of another metric
    "reward/mean": {
        "set_aside/reward": "reward on pictures set aside",
        "heldout/reward": "held-out reward",
    },
    "validation/loss": {"validation/loss_shuffled": "loss with shuffled captions"},
}
START = "start/"
NUM_FIRST = 6
SMOOTHED_FROM = 24  # shorter curves are readable as they are
EXACT = ("learning_rate",)  # not noisy, never smoothed


class Panel(NamedTuple):
    """One chart with its caption."""

    title: str
    change: str
    chart: Markup


def read_rows(path: Path) -> list[Row]:
    """Read metrics rows; of a step that was run again after a resume the last one counts.

    A last line without its newline is what a killed writer leaves, and is left out.

    Raises:
        DataError: If any other line is not JSON or has no step.
    """
    *lines, _ = path.read_text(encoding="utf-8").split("\n")
    rows: dict[float, Row] = {}
    for index, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            rows[row["step"]] = row
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise DataError(f"{path} line {index} is not a metrics row: {line[:80]!r}") from error
    return [rows[step] for step in sorted(rows)]


def panels(rows: Sequence[Row]) -> list[Panel]:
    """Draw every metric that changes, the most important first."""
    found = {name.removeprefix(START) for row in rows for name in row} - {"step"}
    names = found.difference(*COMPANIONS.values())
    ordered = [name for name in TITLES if name in names] + sorted(names - TITLES.keys())
    drawn = [_panel(rows, name) for name in ordered]
    return [panel for panel in drawn if panel is not None]


def length_against_reward(rows: Sequence[Row]) -> Markup | None:
    """Draw each update's caption length against its reward; None if either is not recorded."""
    points = [
        Located("", row["caption_words"], row["reward/mean"])
        for row in rows
        if "caption_words" in row and "reward/mean" in row
    ]
    if len(points) < 2:
        return None
    first, last = points[0], points[-1]
    label = (
        f"Caption length against reward in {len(points)} updates: from {number(first.x)} words and "
        f"{number(first.y)} to {number(last.x)} words and {number(last.y)}"
    )
    return cloud_chart(points, label=label, x_name="caption words")


def smoothed(values: Sequence[float]) -> list[float]:
    """Return the centred moving mean; its window narrows towards both ends, so nothing lags."""
    half = len(values) // 16
    result = []
    for index in range(len(values)):
        reach = min(half, index, len(values) - 1 - index)
        window = values[index - reach : index + reach + 1]
        result.append(sum(window) / len(window))
    return result


def _panel(rows: Sequence[Row], name: str) -> Panel | None:
    xs, ys = _points(rows, name)
    if not xs or (len(xs) > 1 and min(ys) == max(ys)):
        return None
    title = TITLES.get(name, name)
    if len(xs) >= SMOOTHED_FROM and name not in EXACT:
        ends = smoothed(ys)
        series = [Series(title, xs, ys, "faint"), Series(f"{title}, smoothed", xs, ends, "main")]
    else:
        ends = ys
        series = [Series(title, xs, ys, "main")]
    for companion, companion_title in COMPANIONS.get(name, {}).items():
        if any(companion in row for row in rows):
            series.append(Series(companion_title, *_points(rows, companion), "dots"))
    change = f"{number(ends[0])} → {number(ends[-1])}"
    label = f"{title} over {len(xs)} updates: {change}"
    return Panel(title, change, line_chart(series, label=label))


def _points(rows: Sequence[Mapping[str, float]], name: str) -> tuple[list[float], list[float]]:
    starts = [(row["step"], row[START + name]) for row in rows if START + name in row]
    points = starts[:1] + [(row["step"] + 1, row[name]) for row in rows if name in row]
    kept = [(x, y) for x, y in points if math.isfinite(y)]
    return [x for x, _ in kept], [y for _, y in kept]
