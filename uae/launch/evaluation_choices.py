"""What a run chooses for its evaluation besides the recipe: prompt files, judges, sample counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from uae.evaluation.prompt_files import read_prompt_file
from uae.recipe import EvaluationRecipe, PromptFile, Recipe
from uae.recipe.evaluation import BENCHMARKS, PROMPT_FILES
from uae.recipe_files import dump_recipe, parse_recipe
from uae.strict_yaml import read_yaml, write_yaml


def with_evaluation(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """Return the recipe with keys of its section `evaluation` replaced.

    Args:
        recipe: The recipe.
        changes: Such as {"geneval": {"num_prompts": 100}}: keys of a benchmark's section replace
            its own one by one, every other value as a whole.

    Raises:
        RecipeError: If a key does not exist or a value is wrong.
    """
    if not changes:
        return recipe
    values = read_yaml(dump_recipe(recipe))
    section = values["evaluation"]
    for key, change in changes.items():
        is_section = key in BENCHMARKS and isinstance(change, Mapping)
        section[key] = {**section[key], **change} if is_section else change
    return parse_recipe(write_yaml(values), source="the recipe with the parameter evaluation")


def with_prompt_hashes(recipe: Recipe, endpoint: str) -> Recipe:
    """Read every prompt file that the recipe names, and settle its hash in it.

    What a run asked stays what it asks when it is resumed, and a file that is not there is refused
    before anything is trained.

    Raises:
        EvaluationError: If a file cannot be read, or is not of the hash that is asked for.
        StoreError: If the store refuses.
    """
    evaluation = recipe.evaluation
    for name, key in PROMPT_FILES:
        section = getattr(evaluation, name)
        file = getattr(section, key)
        if isinstance(file, PromptFile):
            sha256 = read_prompt_file(file, endpoint=endpoint).sha256
            changed = section.model_copy(update={key: file.model_copy(update={"sha256": sha256})})
            evaluation = evaluation.model_copy(update={name: changed})
    settled: EvaluationRecipe = evaluation
    return recipe.model_copy(update={"evaluation": settled})
