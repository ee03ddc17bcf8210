"""The judge that a recipe names. Only the chosen kind's code is imported."""

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import torch

from uae.evaluation.judges.base import YesNoJudge
from uae.evaluation.judges.files import named_folder
from uae.recipe import ChatJudgeRecipe, YesNoJudgeRecipe

if TYPE_CHECKING:
    from uae.evaluation.judges.server import ServerJudge
    from uae.evaluation.judges.vlm import VlmJudge

WordJudge: TypeAlias = "VlmJudge | ServerJudge"


def load_yes_no_judge(recipe: YesNoJudgeRecipe, weights: Path, device: torch.device) -> YesNoJudge:
    """Load a judge of yes/no questions; `weights` is the folder that names are looked up in.

    Raises:
        ModelError: If it is missing or its weights do not fit.
    """
    if recipe.kind == "starter":
        from uae.evaluation.judges.starter import StarterJudge

        return StarterJudge.load(named_folder(recipe.path, weights), device=device)
    if recipe.kind == "blip_vqa":
        from uae.evaluation.judges.blip import BlipJudge

        return BlipJudge.load(recipe, named_folder(recipe.path, weights), device)
    if recipe.kind == "vlm":
        from uae.evaluation.judges.vlm import VlmJudge

        return VlmJudge.load(recipe, named_folder(recipe.path, weights), device)
    from uae.evaluation.judges.server import ServerJudge

    return ServerJudge(recipe)


def load_chat_judge(recipe: ChatJudgeRecipe, weights: Path, device: torch.device) -> WordJudge:
    """Load a judge that answers in words, and says how probable an answer is.

    Raises:
        ModelError: If it is missing or its weights do not fit.
    """
    if recipe.kind == "vlm":
        from uae.evaluation.judges.vlm import VlmJudge

        return VlmJudge.load(recipe, named_folder(recipe.path, weights), device)
    from uae.evaluation.judges.server import ServerJudge

    return ServerJudge(recipe)
