"""`metrics.json`: what a run achieved and what it cost, for machines. docs/metrics-json.md.

The schema is versioned by `version`; a field is never renamed or removed within a version.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from uae.export.gate import read_decision
from uae.export.run_folder import BENCH_STEPS, TRAINED_STAGES, RunFolder
from uae.export.scores import Interval, TaskScores, read_task_scores, read_unified_bench


class Section(BaseModel):
    """Base of all sections: no unknown key, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class UnifiedBenchMetrics(Section):
    """Unified-Bench in points, 0 to 100; `interval` is the 95 % bootstrap interval."""

    overall: float
    interval: Interval
    slots: dict[str, float]


class StageMetrics(Section):
    """The model after one trained stage."""

    unified_bench: UnifiedBenchMetrics
    caption_words: float
    attribute_recall: float | None
    attribute_precision: float | None
    text_fidelity: float | None


class TaskMetrics(Section):
    """GenEval or DPG-Bench; shares, 0 to 1."""

    protocol: str
    score: float
    interval: Interval
    tasks: dict[str, float]


class GateMetrics(Section):
    """The gate's decision."""

    decision: Literal["promote", "reject"]
    reasons: list[str]


class Metrics(Section):
    """The whole of `metrics.json`. What a failed run did not reach is null or absent."""

    version: Literal[1] = 1
    run_id: str
    status: Literal["running", "succeeded", "failed"]
    recipe: str
    seed: int | None
    seconds: dict[str, float]
    import_seconds: float
    outside_steps_seconds: float | None
    wall_seconds: float | None
    peak_memory_bytes: int | None
    stages: dict[str, StageMetrics]
    geneval: TaskMetrics | None
    dpg_bench: TaskMetrics | None
    gate: GateMetrics | None


def write_metrics(run_folder: Path, out: Path) -> Metrics:
    """Collect a run's metrics and write them to `out`.

    Raises:
        DataError: If the folder is not a run folder or a result in it is not valid.
        RecipeError: If its recipe is not valid.
    """
    metrics = collect_metrics(RunFolder(run_folder))
    out.write_text(metrics.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return metrics


def collect_metrics(run: RunFolder) -> Metrics:
    """Read the metrics of a run, finished or failed.

    Raises:
        DataError: If a result in the run folder is not valid.
        RecipeError: If its recipe is not valid.
    """
    seconds = {
        name: record.seconds for name, record in run.records.items() if record.seconds is not None
    }
    return Metrics(
        run_id=run.info["run_id"],
        status=run.info["status"],
        recipe=run.info["recipe_name"],
        seed=run.recipe.seed if run.recipe else None,
        seconds=seconds,
        import_seconds=sum(record.import_seconds for record in run.records.values()),
        outside_steps_seconds=None,
        wall_seconds=run.info.get("wall_seconds"),
        peak_memory_bytes=run.info.get("peak_memory_bytes"),
        stages=_stages(run),
        geneval=_tasks(run, "evaluate_geneval"),
        dpg_bench=_tasks(run, "evaluate_dpg_bench"),
        gate=_gate(run),
    )


def _stages(run: RunFolder) -> dict[str, StageMetrics]:
    stages = {}
    for stage, step in zip(TRAINED_STAGES, BENCH_STEPS, strict=True):
        path = run.file(step, "results.json")
        if path is None:
            continue
        scores = read_unified_bench(path.parent)
        stages[stage] = StageMetrics(
            unified_bench=UnifiedBenchMetrics(
                overall=scores.overall,
                interval=scores.interval,
                slots={name: slot.score for name, slot in scores.slots.items()},
            ),
            caption_words=scores.caption_words,
            attribute_recall=scores.attribute_recall,
            attribute_precision=scores.attribute_precision,
            text_fidelity=scores.text_fidelity,
        )
    return stages


def _tasks(run: RunFolder, step: str) -> TaskMetrics | None:
    path = run.file(step, "results.json")
    if path is None:
        return None
    scores: TaskScores = read_task_scores(path.parent)
    return TaskMetrics(
        protocol=scores.protocol, score=scores.score, interval=scores.interval, tasks=scores.tasks
    )


def _gate(run: RunFolder) -> GateMetrics | None:
    path = run.file("gate", "gate.json")
    if path is None:
        return None
    decision = read_decision(path.parent)
    return GateMetrics(decision=decision.decision, reasons=decision.reasons)
