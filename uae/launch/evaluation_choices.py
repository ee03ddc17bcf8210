"""What a run chooses for its evaluation besides the recipe: prompt files, judges, sample counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from uae.evaluation.prompt_files import PromptText, read_prompt_file
from uae.recipe import DpgBenchRecipe, GenevalRecipe, PromptFile, Recipe
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
    """Read every prompt file that the recipe names, check it, and settle its hash in the recipe.

    What a run asked stays what it asks when it is resumed; and a file that is not there, or that
    cannot be asked, is refused before anything is trained.

    Raises:
        EvaluationError: If a file cannot be read, is not of the hash that is asked for, holds what
            is no prompt, naming the line, or fewer than asked for; or if rewritten texts are not
            those of its prompts.
        StoreError: If the store refuses.
    """
    evaluation = recipe.evaluation
    found: dict[tuple[str, str], PromptText] = {}
    for name, key in PROMPT_FILES:
        section = getattr(evaluation, name)
        file = getattr(section, key)
        if isinstance(file, PromptFile):
            content = read_prompt_file(file, endpoint=endpoint)
            found[name, key] = content
            settled = file.model_copy(update={"sha256": content.sha256})
            section = section.model_copy(update={key: settled})
            evaluation = evaluation.model_copy(update={name: section})
    _check_geneval(
        evaluation.geneval, found.get(("geneval", "prompts")), found.get(("geneval", "rewritten"))
    )
    _check_dpg_bench(evaluation.dpg_bench, found.get(("dpg_bench", "prompts")))
    return recipe.model_copy(update={"evaluation": evaluation})


def _check_geneval(
    section: GenevalRecipe, prompts: PromptText | None, rewritten: PromptText | None
) -> None:
    """Read prompts as the benchmark will; None where they are made from scenes."""
    from uae.evaluation.geneval.prompts import check_scene_settings, of_files

    if prompts is None:
        check_scene_settings(section)
    else:
        of_files(section, prompts, rewritten)


def _check_dpg_bench(section: DpgBenchRecipe, prompts: PromptText | None) -> None:
    """Read prompts as the benchmark will; None where they are made from scenes."""
    from uae.evaluation.dpg_bench.prompts import first_items, items_of, read_rows

    if prompts is not None:
        rows = read_rows(prompts.text, source=prompts.source)
        items = items_of(rows, section.protocol, source=prompts.source)
        first_items(items, section.num_prompts, source=prompts.source)
