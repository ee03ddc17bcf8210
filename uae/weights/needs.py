"""Which folders of weights a recipe names, and which of them a step reads."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

from uae.evaluation.judges.files import EFFICIENTNET
from uae.models.bundle import is_remote, resolve_base
from uae.recipe import Recipe, TrainedStage

Benchmark = Literal["unified_bench", "geneval", "dpg_bench"]


class Need(NamedTuple):
    """A folder of weights, by the name that a recipe gives it."""

    inside: str  # its path below the weights folder, if it lies there
    name: str  # its path, if it lies elsewhere

    @classmethod
    def scorer(cls, name: str) -> Need:
        """Return the need of an image scorer."""
        return cls(f"scorers/{name}", name)

    @classmethod
    def folder(cls, name: str) -> Need:
        """Return the need of a detector or a judge."""
        return cls(name, name)


def base_name(base: str) -> str:
    """Return the base bundle's name in its weights folder."""
    return base.rstrip("/").rpartition("/")[2] if is_remote(base) else resolve_base(base).name


def base_need(recipe: Recipe) -> Need:
    """Return the need of the base bundle.

    Raises:
        ModelError: If there is no bundle.
    """
    return Need(base_name(recipe.models.base), recipe.models.base)


def stage_needs(recipe: Recipe, stage: str, *, starts_from_base: bool) -> dict[str, Need]:
    """Return what a stage reads: the base, if it starts from it, and its scorer.

    Raises:
        ModelError: If there is no base.
    """
    section: TrainedStage = getattr(recipe, stage)
    needs = {"weights/base": base_need(recipe)} if starts_from_base else {}
    if section.scorer_used is not None:
        needs["weights/scorer"] = Need.scorer(section.scorer_used)
    return needs


def benchmark_needs(recipe: Recipe, benchmark: Benchmark) -> dict[str, Need]:
    """Return what judges in a benchmark, without what comes in a package."""
    evaluation = recipe.evaluation
    if benchmark == "unified_bench":
        slots = evaluation.unified_bench.slots.items()
        return {
            f"weights/slot/{slot}": Need.scorer(name)
            for slot, name in slots
            if name != EFFICIENTNET  # of a package whose version is fixed
        }
    if benchmark == "geneval":
        return {
            "weights/detector": Need.folder(evaluation.geneval.detector),
            "weights/colours": Need.scorer(evaluation.geneval.colors),
        }
    judge = evaluation.dpg_bench.judge
    return {} if judge.kind == "server" else {"weights/judge": Need.folder(judge.path)}


def recipe_needs(recipe: Recipe) -> dict[str, Need]:
    """Return everything that a recipe names, by the recipe's keys.

    Raises:
        ModelError: If there is no base.
    """
    gfu, ufg = recipe.generation_for_understanding, recipe.understanding_for_generation
    needs = {
        "models.base": base_need(recipe),
        "cold_start.scorer": Need.scorer(recipe.cold_start.scorer),
        "generation_for_understanding.rewards.scorer": Need.scorer(gfu.rewards.scorer),
        "understanding_for_generation.rewards.scorer": Need.scorer(ufg.rewards.scorer),
    }
    slots = benchmark_needs(recipe, "unified_bench").items()
    needs |= {
        key.replace("weights/slot/", "evaluation.unified_bench.slots."): n for key, n in slots
    }
    geneval = benchmark_needs(recipe, "geneval")
    needs["evaluation.geneval.detector"] = geneval["weights/detector"]
    needs["evaluation.geneval.colors"] = geneval["weights/colours"]
    if judge := benchmark_needs(recipe, "dpg_bench"):
        needs["evaluation.dpg_bench.judge"] = judge["weights/judge"]
    return needs


def located(need: Need, root: Path) -> Path:
    """Return a need's folder: in the weights folder, or else any."""
    folder = root / need.inside
    return folder if folder.is_dir() else Path(need.name)
