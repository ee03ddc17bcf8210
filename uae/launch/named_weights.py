"""What a recipe names must exist: base weights, scorers and judges by their files, and OCR.

It takes no time and no torch. What is missing would else be found out after hours of training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from uae.errors import ModelError, RecipeError
from uae.evaluation.judges.files import (
    EFFICIENTNET,
    check_detector,
    check_judge,
    find_slot_scorer,
    named_folder,
)
from uae.models.bundle import read_info, resolve_base
from uae.recipe import Recipe
from uae.recipe.evaluation import BENCHMARKS, PROMPT_FILES
from uae.rewards.ocr_package import check_ocr_package
from uae.rewards.scorer_files import find_scorer


def check_named_weights(recipe: Recipe, *, installed: bool = True) -> None:
    """Refuse a recipe that names weights which do not exist, or needs OCR that is not installed.

    Args:
        recipe: The recipe.
        installed: Whether to look for packages too.

    Raises:
        RecipeError: Naming every key whose weights or packages are missing, and which.
    """
    try:
        base = resolve_base(recipe.models.base)
        read_info(base)
    except ModelError as error:
        raise RecipeError(str(error)) from error
    faults = []
    for key, check in _checks(recipe, base.parent, installed=installed):
        try:
            check()
        except ModelError as error:
            faults.append(f"  {key}: {error}")
    if faults:
        raise RecipeError("the recipe needs what is not there:\n" + "\n".join(faults))


def with_absolute_folders(recipe: Recipe) -> Recipe:
    """Return a recipe whose weights exist, with every folder that it names as an absolute path.

    A link stays one: a scorer is known by its folder's name.
    """
    base = resolve_base(recipe.models.base)

    def settled(name: str) -> str:
        is_name = name == EFFICIENTNET or (base.parent / "scorers" / name).is_dir()
        return name if is_name else str(Path(name).absolute())

    values = recipe.model_dump(mode="json")
    if recipe.models.base != "starter":
        values["models"]["base"] = str(base.absolute())
    for section in (
        values["cold_start"],
        values["generation_for_understanding"]["rewards"],
        values["understanding_for_generation"]["rewards"],
    ):
        section["scorer"] = settled(section["scorer"])
    _settle_evaluation(values["evaluation"], base.parent, settled)
    return Recipe.model_validate(values)


def _settle_evaluation(
    evaluation: dict[str, Any], weights: Path, settled: Callable[[str], str]
) -> None:
    bench, geneval, dpg_bench = (evaluation[name] for name in BENCHMARKS)
    bench["slots"] = {slot: settled(name) for slot, name in bench["slots"].items()}
    geneval["colors"] = settled(geneval["colors"])
    for section, key in ((geneval, "detector"), (dpg_bench["judge"], "path")):
        if key in section and not (weights / section[key]).is_dir():
            section[key] = str(Path(section[key]).absolute())
    if bench["pictures"] != "heldout":
        bench["pictures"] = _absolute(bench["pictures"])
    for name, key in PROMPT_FILES:
        file = evaluation[name][key]
        if isinstance(file, dict):
            file["source"] = _absolute(file["source"])


def _absolute(source: str) -> str:
    return source if "://" in source else str(Path(source).absolute())


def _checks(
    recipe: Recipe, root: Path, *, installed: bool
) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield each key of the recipe or benchmark that needs something, and how to look for it."""
    gfu, ufg = recipe.generation_for_understanding, recipe.understanding_for_generation
    evaluation = recipe.evaluation
    scorers = {
        "cold_start.scorer": recipe.cold_start.scorer,
        "generation_for_understanding.rewards.scorer": gfu.rewards.scorer,
        "understanding_for_generation.rewards.scorer": ufg.rewards.scorer,
        "evaluation.geneval.colors": evaluation.geneval.colors,
    }
    for key, name in scorers.items():
        yield key, partial(find_scorer, name, root)
    if installed and gfu.rewards.transcription.reads_pictures:
        yield (
            "generation_for_understanding.rewards.transcription.truth",
            check_ocr_package,
        )
    for slot, name in evaluation.unified_bench.slots.items():
        yield f"evaluation.unified_bench.slots.{slot}", partial(find_slot_scorer, name, root)
    detector = named_folder(evaluation.geneval.detector, root)
    yield "evaluation.geneval.detector", partial(check_detector, detector)
    judge = evaluation.dpg_bench.judge
    if judge.kind != "server":
        yield "evaluation.dpg_bench.judge", partial(check_judge, named_folder(judge.path, root))
