"""Which weights decide a step's result, by content: where they changed, a resume makes it anew.

Only what the step itself reads counts. Models of earlier steps are inputs of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from uae.evaluation.judges.files import EFFICIENTNET, named_folder
from uae.fingerprints import folder_sha256
from uae.models.bundle import resolve_base, weights_root
from uae.recipe import TrainedStage
from uae.recipe_files import parse_recipe
from uae.rewards.scorer_files import scorer_folder

Benchmark = Literal["unified_bench", "geneval", "dpg_bench"]


def stage_weights(recipe: str, stage: str, *, starts_from_base: bool) -> dict[str, str]:
    """Return the sha256 of the base, if the stage starts from it, and of the stage's scorer.

    Args:
        recipe: The settled recipe as YAML text.
        stage: The stage, which is also its section in the recipe.
        starts_from_base: Whether the stage is the first one.

    Raises:
        RecipeError: If the recipe is not valid.
        ModelError: If there are no base weights.
    """
    settled = parse_recipe(recipe)
    section: TrainedStage = getattr(settled, stage)
    base = resolve_base(settled.models.base)
    folders = {"weights/base": base} if starts_from_base else {}
    if section.scorer_used is not None:
        folders["weights/scorer"] = scorer_folder(section.scorer_used, base.parent)
    return _sha256(folders)


def benchmark_weights(recipe: str, benchmark: Benchmark) -> dict[str, str]:
    """Return the sha256 of what judges in a benchmark.

    Args:
        recipe: The settled recipe as YAML text.
        benchmark: The module in `uae.evaluation`.

    Raises:
        RecipeError: If the recipe is not valid.
        ModelError: If there are no base weights.
    """
    settled = parse_recipe(recipe)
    root = weights_root(settled.models.base)
    evaluation = settled.evaluation
    judge = evaluation.dpg_bench.judge
    folders: dict[Benchmark, dict[str, Path]] = {
        "unified_bench": {
            f"weights/slot/{slot}": scorer_folder(name, root)
            for slot, name in evaluation.unified_bench.slots.items()
            if name != EFFICIENTNET  # of a package whose version is fixed
        },
        "geneval": {
            "weights/detector": named_folder(evaluation.geneval.detector, root),
            "weights/colours": scorer_folder(evaluation.geneval.colors, root),
        },
        "dpg_bench": (
            {} if judge.kind == "server" else {"weights/judge": named_folder(judge.path, root)}
        ),
    }
    return _sha256(folders[benchmark])


def _sha256(folders: Mapping[str, Path]) -> dict[str, str]:
    return {name: folder_sha256(folder) for name, folder in folders.items()}
