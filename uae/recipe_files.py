"""Reading and writing recipes: YAML, strict, every fault named."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from uae.errors import RecipeError
from uae.recipe import Recipe
from uae.strict_yaml import read_yaml, write_yaml

RECIPES_FOLDER = Path(__file__).parent / "recipes"


def parse_recipe(text: str, *, source: str = "recipe") -> Recipe:
    """Read a recipe from YAML text.

    Raises:
        RecipeError: Naming every wrong key with its value and what is allowed, or every key that
            stands twice, with its line.
    """
    try:
        values = read_yaml(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"{source} is not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise RecipeError(f"{source} must be a mapping of sections, got {type(values).__name__}")
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        lines = [_explain(dict(fault)) for fault in error.errors()]
        raise RecipeError(f"{source} is not a valid recipe:\n" + "\n".join(lines)) from error


def load_recipe(name_or_path: str) -> Recipe:
    """Read a shipped recipe by name, or a YAML file by path.

    Raises:
        RecipeError: If there is no such recipe, naming those that exist.
    """
    path = Path(name_or_path)
    if path.suffix not in {".yaml", ".yml"}:
        path = RECIPES_FOLDER / f"{name_or_path}.yaml"
    if not path.is_file():
        known = ", ".join(recipe_names())
        raise RecipeError(f"no recipe {name_or_path!r}: give a .yaml file or one of {known}")
    return parse_recipe(path.read_text(encoding="utf-8"), source=str(name_or_path))


def recipe_names() -> list[str]:
    """Return the names of the shipped recipes."""
    return sorted(path.stem for path in RECIPES_FOLDER.glob("*.yaml"))


def dump_recipe(recipe: Recipe) -> str:
    """Return the recipe as YAML; `parse_recipe` gives back an equal one."""
    return write_yaml(recipe.model_dump(mode="json"))


def _explain(fault: dict[str, Any]) -> str:
    key = ".".join(str(part) for part in fault["loc"]) or "(whole recipe)"
    if fault["type"] == "extra_forbidden":
        return f"  {key}: unknown key (value {fault['input']!r}); remove it or correct its name"
    if fault["type"] == "missing":
        return f"  {key}: missing; every key must be given"
    shown = "" if isinstance(fault["input"], dict) else f", got {fault['input']!r}"
    return f"  {key}: {fault['msg'].removeprefix('Value error, ')}{shown}"
