"""What a recipe names must exist: base weights, scorers and judges by their files, and OCR.

It takes no time and no torch. What is missing would else be found out after hours of training.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uae.errors import ModelError, RecipeError
from uae.evaluation.judges.files import (
    EFFICIENTNET,
    check_detector,
    check_judge,
    find_slot_scorer,
    named_folder,
)
from uae.models.bundle import is_remote, read_info, resolve_base
from uae.recipe import Recipe
from uae.recipe.evaluation import BENCHMARKS, PROMPT_FILES
from uae.rewards.ocr_package import check_ocr_package
from uae.rewards.scorer_files import find_scorer
from uae.weights.fetching import fetch_outline
from uae.weights.needs import base_name

if TYPE_CHECKING:
    from uae.store.s3 import Store


def settle_weights(recipe: Recipe, store: Store | None = None, *, installed: bool = True) -> Recipe:
    """Return a recipe whose weights exist, with every folder that it names as an absolute path.

    A link stays one: a scorer is known by its folder's name.

    Args:
        recipe: The recipe.
        store: Any bucket of the store, for a base in one; None opens AWS_ENDPOINT_URL.
        installed: Whether to look for packages too.

    Raises:
        RecipeError: Naming every key whose weights or packages are missing, and which.
        StoreError: If store or hub cannot be reached.
    """
    with _weights_folder(recipe, store) as root:
        try:
            read_info(root / base_name(recipe.models.base))
        except ModelError as error:
            raise RecipeError(_named(error, root, recipe)) from error
        faults = []
        for key, check in _checks(recipe, root, installed=installed):
            try:
                check()
            except ModelError as error:
                faults.append(f"  {key}: {_named(error, root, recipe)}")
        if faults:
            raise RecipeError("the recipe needs what is not there:\n" + "\n".join(faults))
        return _with_absolute_folders(recipe, root)


@contextmanager
def _weights_folder(recipe: Recipe, store: Store | None) -> Iterator[Path]:
    """Give the weights folder; of one elsewhere its outline: all files without their bytes."""
    try:
        if not is_remote(recipe.models.base):
            yield resolve_base(recipe.models.base).parent
            return
        with tempfile.TemporaryDirectory() as temporary:
            fetch_outline(recipe.models, store, Path(temporary))
            yield Path(temporary)
    except ModelError as error:
        raise RecipeError(str(error)) from error


def _named(error: ModelError, root: Path, recipe: Recipe) -> str:
    """Return an error's text, with the address of weights elsewhere in place of their outline's."""
    base = recipe.models.base
    elsewhere = base.rstrip("/").rpartition("/")[0] if is_remote(base) else str(root)
    return str(error).replace(str(root), elsewhere)


def _with_absolute_folders(recipe: Recipe, root: Path) -> Recipe:
    def settled(name: str) -> str:
        is_name = name == EFFICIENTNET or (root / "scorers" / name).is_dir()
        return name if is_name else str(Path(name).absolute())

    base = recipe.models.base
    values = recipe.model_dump(mode="json")
    if base != "starter" and not is_remote(base):
        values["models"]["base"] = str(resolve_base(base).absolute())
    for section in (
        values["cold_start"],
        values["generation_for_understanding"]["rewards"],
        values["understanding_for_generation"]["rewards"],
    ):
        section["scorer"] = settled(section["scorer"])
    _settle_evaluation(values["evaluation"], root, settled)
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
