"""A trained stage as a step of a run, in this process: one node.

The step restores or records itself; checkpoints go to the store while the stage trains, so that a
step that was killed goes on where its last checkpoint stands.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uae.records import Artifact, MetricsArtifact, Step, step

if TYPE_CHECKING:
    from uae.store.s3 import Store


def run_stage(
    name: str,
    recipe: str,
    run: str,
    *,
    data: Artifact,
    model_in: Artifact | None,
    model_out: Artifact,
    logs: Artifact,
    curves: Artifact,
    metrics: MetricsArtifact,
) -> None:
    """Train one stage and leave its model, logs and curves.

    Args:
        name: Stage, component and recipe section: they share one name.
        recipe: The settled recipe as YAML text.
        run: The run's location.
        data: The validated data set.
        model_in: The model to start from; None starts from the recipe's base weights.
        model_out: Where the trained model goes.
        logs: Folder for metrics.jsonl and TensorBoard.
        curves: HTML page with the curves.
        metrics: Where the stage's summary is shown.

    Raises:
        UaeError: If the stage refuses its input or one of its invariants does not hold.
    """
    inputs = {"recipe": recipe, "data": data, "model_in": model_in}
    outputs = {"model": model_out, "logs": logs, "curves": curves}

    def weights(_: Store) -> Mapping[str, str]:
        from uae.launch.weight_inputs import stage_weights

        return stage_weights(recipe, name, starts_from_base=model_in is None)

    with step(
        name, run, inputs=inputs, outputs=outputs, metrics=metrics, late_inputs=weights
    ) as work:
        if work.restored:
            return
        summary = _train(work, recipe, data, model_in)
        work.log_metrics(summary)
    work.store.delete(work.prefix("checkpoints"))


def _train(
    work: Step, recipe_text: str, data: Artifact, model_in: Artifact | None
) -> Mapping[str, Any]:
    with work.imports():
        from uae.models.bundle import resolve_base
        from uae.recipe_files import parse_recipe
        from uae.report.step_html import curves_html
        from uae.training.checkpoint import StoreCheckpoints

        stage = import_module(f"uae.stages.{work.record.step}")
    recipe = parse_recipe(recipe_text)
    start = Path(model_in.path) if model_in else resolve_base(recipe.models.base)
    model_out, logs, curves = (Path(artifact.path) for artifact in work.outputs.values())
    with tempfile.TemporaryDirectory() as scratch:
        kept = StoreCheckpoints(work.store, work.prefix("checkpoints"), Path(scratch))
        summary: Mapping[str, Any] = stage.train(
            recipe, Path(data.path), start, model_out, checkpoints=kept, log_dir=logs
        )
    curves.write_text(curves_html(logs / "metrics.jsonl", title=work.record.step), "utf-8")
    return summary
