"""Which weights decide a step's result, by content: where they changed, a resume makes it anew.

Only what the step itself reads counts. Models of earlier steps are inputs of their own. Where the
recipe names a manifest, files that are not as it says are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from uae.fingerprints import folder_sha256
from uae.models.bundle import is_remote, weights_root
from uae.recipe.whole import ModelsRecipe
from uae.recipe_files import parse_recipe
from uae.weights.check import verified_sha256
from uae.weights.fetching import fetch_manifest
from uae.weights.needs import Benchmark as Benchmark
from uae.weights.needs import Need, benchmark_needs, located, stage_needs

if TYPE_CHECKING:
    from uae.store.s3 import Store


def stage_weights(
    recipe: str, stage: str, store: Store | None = None, *, starts_from_base: bool
) -> dict[str, str]:
    """Return the sha256 of the base, if the stage starts from it, and of the stage's scorer.

    Args:
        recipe: The settled recipe as YAML text.
        stage: The stage, which is also its section in the recipe.
        store: Any bucket of the store, for a base in one.
        starts_from_base: Whether the stage is the first one.

    Raises:
        RecipeError: If the recipe is not valid.
        ModelError: If there are no base weights, or they are not as the manifest says.
    """
    settled = parse_recipe(recipe)
    needs = stage_needs(settled, stage, starts_from_base=starts_from_base)
    return _sha256(settled.models, needs, store)


def benchmark_weights(
    recipe: str, benchmark: Benchmark, store: Store | None = None
) -> dict[str, str]:
    """Return the sha256 of what judges in a benchmark.

    Args:
        recipe: The settled recipe as YAML text.
        benchmark: The module in `uae.evaluation`.
        store: Any bucket of the store, for a base in one.

    Raises:
        RecipeError: If the recipe is not valid.
        ModelError: If there are no base weights, or a judge is not as the manifest says.
    """
    settled = parse_recipe(recipe)
    return _sha256(settled.models, benchmark_needs(settled, benchmark), store)


def _sha256(models: ModelsRecipe, needs: Mapping[str, Need], store: Store | None) -> dict[str, str]:
    if not is_remote(models.base):
        root = weights_root(models.base)
        return {key: verified_sha256(models, located(need, root)) for key, need in needs.items()}
    manifest = fetch_manifest(models, store)
    return {
        key: manifest.sha256(need.inside)
        if manifest.files(need.inside)
        else folder_sha256(Path(need.name))
        for key, need in needs.items()
    }
