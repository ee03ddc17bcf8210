"""The first step of a run: say where it lies, settle its recipe, and name the state of its data.

What comes after depends on these three alone, so that a finished data or evaluation step can be
known again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from uae.errors import RecipeError, RunError
from uae.fingerprints import json_sha256
from uae.launch.evaluation_choices import with_prompt_hashes
from uae.launch.location import current_job, run_location
from uae.launch.validation import settle_recipe
from uae.recipe import Recipe
from uae.recipe_files import dump_recipe
from uae.records import MetricsArtifact, step

if TYPE_CHECKING:
    from uae.store.s3 import Store


class Start(NamedTuple):
    """What the first step hands to all others."""

    recipe: str  # YAML
    run: str  # the run's location
    data_revision: str


def run_start(
    recipe: str,
    data: str,
    data_revision: str,
    *,
    seed: int,
    base_model: str,
    evaluation: Mapping[str, Any],
    run_id: str,
    endpoint: str,
    bucket: str,
    metrics: MetricsArtifact,
) -> Start:
    """Settle what a run is, and refuse early what cannot be run.

    Args:
        recipe: YAML text, or the name of a shipped recipe.
        data: "starter", a folder, or s3://bucket/prefix.
        data_revision: Name of the data's state; empty computes one from the source.
        seed: Replaces the recipe's; negative keeps it.
        base_model: Replaces the recipe's `models.base`; empty keeps it.
        evaluation: Replaces keys of the recipe's `evaluation`: prompt files, judges, counts.
        run_id: Name of the run; empty takes the execution's own id.
        endpoint: Address of the object store.
        bucket: Bucket for everything that the run stores.
        metrics: Where the seed is shown.

    Raises:
        RecipeError: If the recipe is not valid, or its weights are missing, cut off, others than
            its manifest's, or under a licence that it does not accept.
        DataError: If there are no data.
        EvaluationError: If a prompt file cannot be read.
        RunError: If a model of this run was promoted, and this would become another one.
        StoreError: If the store cannot be used.
    """
    run = run_location(run_id, endpoint, bucket)
    chosen = {"recipe": recipe, "data": data, "data_revision": data_revision}
    chosen |= {"base_model": base_model, "job": current_job()}  # every execution checks anew
    chosen |= {"evaluation": json.dumps(evaluation, sort_keys=True)}
    inputs: dict[str, str | int] = {**chosen, "seed": seed}
    with step("start_run", run, inputs=inputs, outputs={}, metrics=metrics) as work:
        settled = settle_recipe(
            recipe, seed=seed, base_model=base_model, evaluation=evaluation, installed=False,
            store=work.store,
        )  # fmt: skip
        _refuse_bad_weights(settled, work.store)
        settled = with_prompt_hashes(settled, endpoint)
        text = dump_recipe(settled)
        _refuse_another_model(work.store, work.location.run_id, settled)
        work.store.put_bytes(f"{work.location.prefix}/recipe.yaml", text.encode())
        with work.imports():
            from uae.data.revision import source_revision
        revision = data_revision or source_revision(data, work.store)
        if not work.restored:
            work.log_metrics({"seed": settled.seed})
    return Start(text, run, revision)


def _refuse_bad_weights(recipe: Recipe, store: Store) -> None:
    """Say before any GPU is taken what is missing, cut off, of another kind, or not accepted."""
    from uae.weights.check import check_weights

    if faults := check_weights(recipe, store):
        lines = "\n".join(f"  {fault}" for fault in faults)
        raise RecipeError(f"the recipe's weights cannot be used:\n{lines}")


def _refuse_another_model(store: Store, run_id: str, recipe: Recipe) -> None:
    """Say early what the export would say after hours of training."""
    from uae.export.registry import read_history

    promoted = [entry for entry in read_history(store) if entry.run_id == run_id]
    made_from = json_sha256(recipe.model_dump(mode="json"))
    if promoted and promoted[-1].recipe_sha256 != made_from:
        raise RunError(
            f"the model of run {run_id} was promoted, and it was made from another recipe: take "
            "another run_id, or the same recipe to go on with that run"
        )
