"""Scores as tables and charts, shared by the run's report and the steps' pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from markupsafe import Markup

from uae.export.scores import TaskScores, UnifiedBenchScores
from uae.report.charts import Scored, interval_chart
from uae.report.dag import STAGE_TITLES


class Gain(NamedTuple):
    """A paired difference in points, with its 95 % interval."""

    mean: float
    low: float
    high: float


class Cell(NamedTuple):
    """A score with its 95 % interval."""

    score: float
    low: float
    high: float


class BenchRow(NamedTuple):
    """One line of the Unified-Bench table: a slot, or the overall score."""

    name: str
    scorer: str | None
    cells: list[Cell]  # one for each stage
    gain: Gain | None


class BenchChart(NamedTuple):
    """One slot's scores over the stages."""

    title: str
    chart: Markup


class TaskTable(NamedTuple):
    """GenEval or DPG-Bench."""

    title: str
    scores: TaskScores


def bench_table(
    benches: Mapping[str, UnifiedBenchScores], gains: Mapping[str, Gain]
) -> list[BenchRow]:
    """Return the overall line and one for each slot."""
    if not benches:
        return []
    last = list(benches.values())[-1]
    overall = [Cell(bench.overall, *bench.interval) for bench in benches.values()]
    rows = [BenchRow("Overall", None, overall, gains.get("overall"))]
    for name, slot in last.slots.items():
        slots = [bench.slots[name] for bench in benches.values()]
        cells = [Cell(one.score, *one.interval) for one in slots]
        rows.append(BenchRow(name, slot.scorer, cells, gains.get(name)))
    return rows


def bench_charts(benches: Mapping[str, UnifiedBenchScores]) -> list[BenchChart]:
    """Draw the overall score and each slot over the stages."""
    if len(benches) < 2:
        return []
    titles = [STAGE_TITLES[stage] for stage in benches]
    charts = []
    for row in bench_table(benches, {}):
        points = [Scored(title, *cell) for title, cell in zip(titles, row.cells, strict=True)]
        values = ", ".join(f"{point.name} {point.value:.2f}" for point in points)
        title = f"{row.name} ({row.scorer})" if row.scorer else row.name
        charts.append(BenchChart(title, interval_chart(points, label=f"{title}: {values}")))
    return charts


def task_table(title: str, scores: TaskScores) -> TaskTable:
    """Return a benchmark's scores under its name."""
    return TaskTable(title, scores)
