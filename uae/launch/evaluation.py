"""An evaluation as a step of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from uae.launch.lineage import lineage
from uae.records import Artifact, MetricsArtifact, Step, step

if TYPE_CHECKING:
    from uae.evaluation.results import Result
    from uae.launch.weight_inputs import Benchmark
    from uae.store.s3 import Store

TITLES: dict[Benchmark, str] = {
    "unified_bench": "Unified-Bench",
    "geneval": "GenEval",
    "dpg_bench": "DPG-Bench",
}


class ClassificationArtifact(Artifact, Protocol):
    """An artifact that shows a confusion matrix, a ROC curve, or both."""

    def log_confusion_matrix(self, categories: list[str], matrix: list[list[int]]) -> None:
        """Show how often each category (row) was taken for which (column)."""

    def log_roc_curve(self, fpr: list[float], tpr: list[float], threshold: list[float]) -> None:
        """Show shares of false and of true positives at falling thresholds."""


def run_evaluation(
    name: str,
    benchmark: Benchmark,
    recipe: str,
    run: str,
    *,
    data: Artifact,
    model: Artifact,
    results: Artifact,
    page: Artifact,
    metrics: MetricsArtifact,
    classifications: Mapping[str, ClassificationArtifact] | None = None,
) -> None:
    """Evaluate one model and leave its scores, the evidence and a page to look at.

    Args:
        name: The step, such as `evaluate_unified_bench/cold_start`.
        benchmark: The module in `uae.evaluation`.
        recipe: The settled recipe as YAML text.
        run: The run's location.
        data: The validated data set.
        model: The model under test.
        results: Folder for results.json, samples.parquet and images.
        page: HTML page with the scores.
        metrics: Where the scores are shown.
        classifications: Where the confusion matrices and curves of these names are shown; one that
            the results do not have stays empty, and the user interface leaves it out.

    Raises:
        UaeError: If model or data are refused, or a scorer cannot be trusted.
    """
    inputs = {"recipe": recipe, "data": data, "model": model}
    outputs = {"results": results, "page": page}

    def weights(store: Store) -> Mapping[str, str]:
        from uae.launch.weight_inputs import benchmark_weights

        return benchmark_weights(recipe, benchmark, store)

    with step(
        name, run, inputs=inputs, outputs=outputs, metrics=metrics, late_inputs=weights
    ) as work:
        if not work.restored:
            work.log_metrics(_evaluate(work, benchmark, recipe, data, model))
        found = json.loads((Path(results.path) / "results.json").read_text(encoding="utf-8"))
        results.metadata |= lineage(recipe, data, model) | {"protocol": found["protocol"]}
        for shown, artifact in (classifications or {}).items():
            show_classification(artifact, found.get("classification", {}).get(shown, {}))


def _evaluate(
    work: Step, benchmark: Benchmark, recipe: str, data: Artifact, model: Artifact
) -> Mapping[str, Any]:
    with work.imports():
        from uae.evaluation.of_run import evaluate
        from uae.recipe_files import parse_recipe
        from uae.report.step_html import bench_html, tasks_html
        from uae.weights.fetching import fetch_for_benchmark

        import_module(f"uae.evaluation.{benchmark}.run")
    results, page = (Path(artifact.path) for artifact in work.outputs.values())
    settled = parse_recipe(recipe)
    fetch_for_benchmark(settled, benchmark, work.store)
    result = evaluate(
        benchmark,
        settled,
        Path(data.path),
        Path(model.path),
        results,
        endpoint=work.location.endpoint,
    )
    title = TITLES[benchmark]
    if benchmark == "unified_bench":
        page.write_text(bench_html(results, title=f"{title}, {work.record.step}"), "utf-8")
    else:
        page.write_text(tasks_html(results, title=title), "utf-8")
    return shown_scores(result)


def shown_scores(result: Result) -> dict[str, float | None]:
    """Return a result's numbers under the names that the user interface and records show."""
    is_bench = result.benchmark == "unified_bench"
    shown = {"overall" if is_bench else "score": result.score, "num_samples": result.num_samples}
    part = "slot" if is_bench else "task"
    shown |= {f"{part}/{name}": found.score for name, found in result.parts.items()}
    shown |= {
        name: found.score for name, found in result.metrics.items() if not name.startswith("level")
    }
    check = result.self_test  # of the judge, on pictures with known answers
    return shown | ({"self_test/accuracy": check["accuracy"]} if check else {})


def show_classification(
    artifact: ClassificationArtifact, found: Mapping[str, Mapping[str, Sequence[Any]]]
) -> None:
    """Log what a result's `classification` holds under one name."""
    if confusion := found.get("confusion"):
        artifact.log_confusion_matrix([*confusion["categories"]], [*confusion["matrix"]])
    if roc := found.get("roc"):
        axes = ("false_positive_rate", "true_positive_rate", "thresholds")
        artifact.log_roc_curve(*([*roc[axis]] for axis in axes))
