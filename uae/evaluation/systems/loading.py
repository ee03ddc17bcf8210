"""The system that a system file describes. Only the chosen family's code is imported."""

import torch

from uae.evaluation.systems.base import System
from uae.models.bundle import resolve_base
from uae.recipe import SystemRecipe


def load_system(recipe: SystemRecipe, device: torch.device) -> System:
    """Return a system, its identity known, its weights not yet read.

    Raises:
        ModelError: If weights are missing, or of another architecture than the kind says.
        EvaluationError: If a folder of pictures is missing.
    """
    if recipe.kind == "uae":
        from uae.evaluation.systems.bundle import BundleSystem

        return BundleSystem.of_recipe(recipe, resolve_base(recipe.path), device)
    if recipe.kind == "janus":
        from uae.evaluation.systems.janus import JanusSystem

        return JanusSystem(recipe, device)
    if recipe.kind == "emu3":
        from uae.evaluation.systems.emu3 import Emu3System

        return Emu3System(recipe, device)
    if recipe.kind == "chameleon":
        from uae.evaluation.systems.chameleon import ChameleonSystem

        return ChameleonSystem(recipe, device)
    if recipe.kind == "composed":
        from uae.evaluation.systems.composed import ComposedSystem

        return ComposedSystem(recipe, device)
    if recipe.kind == "server":
        from uae.evaluation.systems.server import ServerSystem

        return ServerSystem(recipe)
    from uae.evaluation.systems.folder import FolderSystem

    return FolderSystem(recipe)
