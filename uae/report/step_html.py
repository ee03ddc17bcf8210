"""Small self-contained pages for the Kubeflow UI, one for each kind of step."""

from __future__ import annotations

from pathlib import Path

from uae.export.gate import Decision
from uae.export.scores import read_task_scores, read_unified_bench
from uae.report.curves import panels, read_rows
from uae.report.page import render
from uae.report.samples import choose_samples
from uae.report.tables import bench_table, task_table


def curves_html(metrics_jsonl: Path, *, title: str = "Training curves") -> str:
    """Return a page with a trained stage's curves.

    Raises:
        DataError: If a line is not a metrics row.
    """
    rows = read_rows(metrics_jsonl)
    return render("curves.html.j2", title=title, num_updates=len(rows), panels=panels(rows))


def bench_html(results_folder: Path, *, title: str = "Unified-Bench") -> str:
    """Return a page with one Unified-Bench result and some of its pictures.

    Raises:
        DataError: If the result or its per-sample evidence is missing or not valid.
    """
    scores = read_unified_bench(results_folder)
    samples = choose_samples({"": results_folder})
    rows = bench_table({"": scores}, {})
    return render("bench.html.j2", title=title, scores=scores, rows=rows, samples=samples)


def tasks_html(results_folder: Path, *, title: str) -> str:
    """Return a page with a GenEval or DPG-Bench result.

    Raises:
        DataError: If the result is missing or not valid.
    """
    table = task_table(title, read_task_scores(results_folder))
    return render("tasks.html.j2", title=title, table=table)


def gate_html(decision: Decision) -> str:
    """Return a page with the gate's decision and every condition that it checked."""
    return render("gate.html.j2", title="Gate", decision=decision)
