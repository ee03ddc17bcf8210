"""A trained stage as a step of a run: in this process, in several of this machine, or in a job.

The step restores or records itself. Checkpoints go to the store while the stage trains, so that a
step that was killed goes on where its last checkpoint stands, wherever it trains.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uae.launch.failures import WorkerFailure, reason
from uae.launch.lineage import lineage
from uae.launch.resources import Launch
from uae.launch.task import StageTask
from uae.launch.training import OUTPUTS, StagePaths, train_stage
from uae.recipe_files import parse_recipe
from uae.records import Artifact, MetricsArtifact, Step, step

if TYPE_CHECKING:
    from uae.store.s3 import Store


def run_stage(
    name: str,
    recipe: str,
    run: str,
    *,
    launch: str,
    tolerations: list[dict[str, Any]],
    node_selector: dict[str, str],
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
        launch: What `Launch.to_json` wrote; empty trains in this process.
        tolerations: Kubernetes tolerations of a TrainJob's pods.
        node_selector: Labels of the nodes on which a TrainJob's pods may run.
        data: The validated data set.
        model_in: The model to start from; None starts from the recipe's base weights.
        model_out: Where the trained model goes.
        logs: Folder for metrics.jsonl and TensorBoard.
        curves: HTML page with the curves.
        metrics: Where the stage's summary is shown.

    Raises:
        UaeError: If the stage refuses its input or one of its invariants does not hold, or the
            cluster does not run it.
    """
    inputs = {"recipe": recipe, "data": data, "model_in": model_in}
    outputs = dict(zip(OUTPUTS, (model_out, logs, curves), strict=True))
    weights: dict[str, str] = {}

    def read_weights(store: Store) -> Mapping[str, str]:
        from uae.launch.weight_inputs import stage_weights

        weights.update(stage_weights(recipe, name, store, starts_from_base=model_in is None))
        return weights

    with step(
        name, run, inputs=inputs, outputs=outputs, metrics=metrics, late_inputs=read_weights
    ) as work:
        model_out.metadata |= lineage(recipe, data, model_in) | _base(recipe, weights)
        logs.metadata["tensorboard"] = f"{work.output_uri('logs')}/tensorboard"
        if work.restored:
            return
        nodes = {"tolerations": tolerations, "node_selector": node_selector}
        work.log_metrics(_train(work, launch, recipe, data, model_in, nodes))
    work.store.delete(work.prefix("checkpoints"))


def _train(
    work: Step,
    launch: str,
    recipe: str,
    data: Artifact,
    model_in: Artifact | None,
    nodes: Mapping[str, Any],
) -> Mapping[str, Any]:
    """Train where the launch says; return the stage's summary."""
    given = (recipe, data, model_in)
    wanted = Launch.from_json(launch) if launch else None
    if wanted is None or (wanted.launcher == "pod" and not wanted.accelerators):
        return _train_here(work, *given)
    if wanted.launcher == "pod":
        return _train_with_torchrun(work, *given, wanted)
    from uae.launch.trainjob import train_in_job

    return train_in_job(work, *given, wanted, **nodes)


def _train_here(
    work: Step, recipe: str, data: Artifact, model_in: Artifact | None
) -> Mapping[str, Any]:
    start = Path(model_in.path) if model_in else None
    outputs = {name: Path(artifact.path) for name, artifact in work.outputs.items()}
    paths = StagePaths(Path(data.path), start, **outputs)
    with work.imports():
        from uae.training.distribution import join_world
        from uae.weights.fetching import fetch_for_stage

    def leave_word(error: Exception) -> None:
        work.fail(reason([WorkerFailure.of(error, 0)]))

    stage, settled = work.record.step, parse_recipe(recipe)
    # Nobody watches this: a large download may take longer than the patience.
    fetch_for_stage(settled, stage, work.store, starts_from_base=start is None)
    patience = timedelta(seconds=settled.faults.patience_seconds)
    with join_world(1, patience=patience, on_hang=leave_word):
        return train_stage(
            stage, recipe, paths, work.store, work.prefix("checkpoints"), imports=work.imports
        )


def _train_with_torchrun(
    work: Step, recipe: str, data: Artifact, model_in: Artifact | None, launch: Launch
) -> Mapping[str, Any]:
    from uae.launch.torchrun import train_with_torchrun

    task = StageTask(
        stage=work.record.step,
        recipe=recipe,
        run=str(work.location),
        world_size=launch.world_size,
        identity=work.record.inputs,
        checkpoints=work.prefix("checkpoints"),
        data=data.path,
        model_in=model_in.path if model_in else None,
        digests={},
        outputs={name: artifact.path for name, artifact in work.outputs.items()},
    )
    return train_with_torchrun(task, launch.max_restarts)


def _base(recipe: str, weights: Mapping[str, str]) -> dict[str, str]:
    """Return the parent of a model that starts from the base weights; nothing for another one."""
    if "weights/base" not in weights:
        return {}
    base = parse_recipe(recipe).models.base
    return {"parent_uri": base, "parent_sha256": weights["weights/base"]}
