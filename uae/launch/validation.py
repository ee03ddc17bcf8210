"""Settle a recipe; validate the data of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uae.launch.evaluation_choices import with_evaluation
from uae.launch.named_weights import settle_weights
from uae.recipe import Recipe
from uae.recipe_files import load_recipe, parse_recipe
from uae.records import Artifact, MetricsArtifact, step

if TYPE_CHECKING:
    from uae.store.s3 import Store


def run_validation(
    recipe: str,
    run: str,
    data: str,
    data_revision: str,
    *,
    dataset: Artifact,
    report: Artifact,
    metrics: MetricsArtifact,
) -> None:
    """Leave a validated data set.

    Args:
        recipe: The settled recipe as YAML text.
        run: The run's location.
        data: "starter", a folder, or s3://bucket/prefix.
        data_revision: Name of the data's state; with another one they are validated again.
        dataset: Where the validated data set goes.
        report: HTML data report, written also when the data are refused.
        metrics: Where counts are shown.

    Raises:
        DataError: If the data break an expectation.
        StoreError: If the store cannot be used.
    """
    inputs = {"recipe": recipe, "data": data, "data_revision": data_revision}
    outputs = {"dataset": dataset, "report": report}
    with step("validate_data", run, inputs=inputs, outputs=outputs, metrics=metrics) as work:
        if work.restored:
            return
        with work.imports():
            from uae.data.validate import validate_data
        paths = Path(dataset.path), Path(report.path)
        work.log_metrics(validate_data(parse_recipe(recipe), data, *paths, store=work.store))


def settle_recipe(
    recipe: str,
    *,
    seed: int = -1,
    base_model: str = "",
    evaluation: Mapping[str, Any] | None = None,
    installed: bool = True,
    store: Store | None = None,
) -> Recipe:
    """Return the recipe given as YAML text, by name or by file, with the run's own choices in it.

    Folders are absolute in it: a resume may be started elsewhere.

    Args:
        recipe: YAML text, the name of a shipped recipe, or a file.
        seed: Replaces the recipe's; negative keeps it.
        base_model: Replaces the recipe's `models.base`; empty keeps it.
        evaluation: Replaces keys of the recipe's `evaluation`.
        installed: Whether packages that stages need must be installed here: steps that run in
            other images have their own.
        store: Any bucket of the store, for base weights in one; None opens AWS_ENDPOINT_URL.

    Raises:
        RecipeError: If there is no such recipe, it is not valid, or it names base weights, scorers
            or judges that do not exist.
    """
    is_file = recipe.strip().endswith((".yaml", ".yml")) and "\n" not in recipe.strip()
    is_text = ":" in recipe and not is_file
    values = parse_recipe(recipe) if is_text else load_recipe(recipe.strip())
    if seed >= 0:
        values = values.model_copy(update={"seed": seed})
    if base_model:
        models = values.models.model_copy(update={"base": base_model})
        values = values.model_copy(update={"models": models})
    values = with_evaluation(values, evaluation or {})
    return settle_weights(values, store, installed=installed)
