"""How an execution of a run ended, read from the records that its steps left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from uae.launch.announcement import Ending, StepFailure
from uae.report.page import percent

if TYPE_CHECKING:
    from uae.export.metrics import Metrics, TaskMetrics

Record = Mapping[str, Any]
REPORTING = "report_run"  # the exit handler, which is no part of the run
SWITCHED_OFF = "the gate passed it, but this run was not to promote (parameter promote)"


def step_failures(records: Sequence[Record], job: str) -> list[StepFailure]:
    """Return the steps that failed in this execution, in order of their start."""
    own = [r for r in records if r["job"] == job and r["step"] != REPORTING]
    return [
        StepFailure(
            record["step"],
            f"{record['error']['type']}: {record['error']['message']}",
            record["error"]["retryable"],
            record["log_tail"],
        )
        for record in own
        if record["status"] == "failed"
    ]


def wall_seconds(records: Sequence[Record], job: str) -> float | None:
    """Return the seconds since the first step of this execution began, None if none did."""
    own = [r for r in records if r["job"] == job and r["step"] != REPORTING]
    if not own:
        return None
    start = min(datetime.fromisoformat(record["started_at"]) for record in own)
    return round((datetime.now(UTC) - start).total_seconds(), 1)


def describe_success(ending: Ending, records: Sequence[Record], metrics: Metrics) -> None:
    """Put into `ending` what a run that succeeded reached, and whether its model was promoted."""
    ending.scores = score_lines(metrics)
    exported = [r for r in records if r["step"] == "export_model" and r["status"] == "succeeded"]
    if not exported:
        return
    ending.promoted = bool(exported[0]["metrics"]["promoted"])
    if not ending.promoted and metrics.gate is not None:
        rejected = metrics.gate.decision == "reject"
        ending.reasons = metrics.gate.reasons if rejected else [SWITCHED_OFF]


def score_lines(metrics: Metrics) -> list[str]:
    """Return the main scores, one in a line."""
    lines = []
    if metrics.stages:
        first, *_, last = [*metrics.stages.values()] * 2
        low, high = last.unified_bench.interval
        lines.append(
            f"Unified-Bench {first.unified_bench.overall:.2f} at first, "
            f"{last.unified_bench.overall:.2f} now (95 % interval {low:.2f} to {high:.2f})"
        )
        if first.attribute_recall is not None and last.attribute_recall is not None:
            before, now = percent(first.attribute_recall), percent(last.attribute_recall)
            lines.append(f"Attributes named {before} at first, {now} now")
    tasks = {"GenEval": metrics.geneval, "DPG-Bench": metrics.dpg_bench}
    return lines + [_task_line(name, task) for name, task in tasks.items() if task is not None]


def main_numbers(metrics: Metrics) -> dict[str, float]:
    """Return a run's main numbers, for the user interface's list of runs."""
    stages = [*metrics.stages.values()]
    numbers: dict[str, float | None] = {
        "wall_seconds": metrics.wall_seconds,
        "unified_bench/first": stages[0].unified_bench.overall if stages else None,
        "unified_bench": stages[-1].unified_bench.overall if stages else None,
        "geneval": metrics.geneval.score if metrics.geneval else None,
        "dpg_bench": metrics.dpg_bench.score if metrics.dpg_bench else None,
    }
    return {name: value for name, value in numbers.items() if value is not None}


def _task_line(name: str, task: TaskMetrics) -> str:
    low, high = task.interval
    return f"{name} {task.score:.3f} (95 % interval {low:.3f} to {high:.3f})"
