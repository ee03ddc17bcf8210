"""The first step of a run: settle the recipe, then validate the data."""

from __future__ import annotations

from pathlib import Path

from uae.launch.location import run_location
from uae.launch.named_weights import check_named_weights, with_absolute_folders
from uae.recipe import Recipe
from uae.recipe_files import dump_recipe, load_recipe, parse_recipe
from uae.records import Artifact, MetricsArtifact, step


def run_validation(
    recipe: str,
    data: str,
    *,
    seed: int,
    base_model: str,
    run_id: str,
    endpoint: str,
    bucket: str,
    job: str,
    dataset: Artifact,
    report: Artifact,
    metrics: MetricsArtifact,
) -> tuple[str, str]:
    """Settle the run's recipe and location and leave a validated data set.

    Args:
        recipe: YAML text, or the name of a shipped recipe.
        data: "starter", a folder, or s3://bucket/prefix.
        seed: Replaces the recipe's; negative keeps it.
        base_model: Replaces the recipe's `models.base`; empty keeps it.
        run_id: Name of the run; empty takes the execution's own id.
        endpoint: Address of the object store.
        bucket: Bucket for everything that the run stores.
        job: Id of this execution.
        dataset: Where the validated data set goes.
        report: HTML data report, written also when the data are refused.
        metrics: Where counts are shown.

    Returns:
        The settled recipe as YAML text, and the run's location.

    Raises:
        RecipeError: If the recipe is not valid.
        DataError: If the data break an expectation.
        StoreError: If the store cannot be used.
    """
    run = run_location(run_id, endpoint, bucket, job)
    inputs = {"recipe": recipe, "data": data, "seed": seed, "base_model": base_model}
    outputs = {"dataset": dataset, "report": report}
    with step("validate_data", run, inputs=inputs, outputs=outputs, metrics=metrics) as work:
        settled = settle_recipe(recipe, seed=seed, base_model=base_model)
        text = dump_recipe(settled)
        if not work.restored:
            work.store.put_bytes(f"{work.location.prefix}/recipe.yaml", text.encode())
            with work.imports():
                from uae.data.validate import validate_data
            paths = Path(dataset.path), Path(report.path)
            work.log_metrics(validate_data(settled, data, *paths, store=work.store))
    return text, run


def settle_recipe(recipe: str, *, seed: int = -1, base_model: str = "") -> Recipe:
    """Return the recipe given as YAML text, by name or by file, with the run's own choices in it.

    Folders are absolute in it: a resume may be started elsewhere.

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
    check_named_weights(values)
    return with_absolute_folders(values)
