"""Reading and writing recipes: YAML, strict, every fault named."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import TypeAdapter, ValidationError

from uae.errors import RecipeError
from uae.recipe import Recipe, Strict, SuiteRecipe, SystemRecipe
from uae.recipe.pairwise import PairwiseRecipe
from uae.strict_yaml import read_yaml, write_yaml

RECIPES_FOLDER = Path(__file__).parent / "recipes"
SUITES_FOLDER = RECIPES_FOLDER / "suites"
SYSTEMS_FOLDER = RECIPES_FOLDER / "systems"
PAIRWISE_FOLDER = RECIPES_FOLDER / "pairwise"


def parse_recipe(text: str, *, source: str = "recipe") -> Recipe:
    """Read a recipe from YAML text.

    Raises:
        RecipeError: Naming every wrong key with its value and what is allowed, or every key that
            stands twice, with its line.
    """
    recipe: Recipe = _parse(Recipe, text, source)
    return recipe


def _parse(kind: Any, text: str, source: str) -> Any:
    """Read a section, or one of several that may stand there, from YAML text."""
    try:
        values = read_yaml(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"{source} is not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise RecipeError(f"{source} must be a mapping of sections, got {type(values).__name__}")
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        faults = [dict(fault) for fault in error.errors()]
        lines = [_explain(fault, kind) for fault in faults if not _is_moot(fault)]
        raise RecipeError(f"{source} is not a valid recipe:\n" + "\n".join(lines)) from error


def load_recipe(name_or_path: str) -> Recipe:
    """Read a shipped recipe by name, or a YAML file by path.

    Raises:
        RecipeError: If there is no such recipe, naming those that exist.
    """
    text = _find("recipe", RECIPES_FOLDER, name_or_path).read_text(encoding="utf-8")
    return parse_recipe(text, source=name_or_path)


def load_suite(name_or_path: str) -> SuiteRecipe:
    """Read a suite of benchmarks: a shipped one by name, or a YAML file by path.

    Raises:
        RecipeError: If there is no such suite, or naming every wrong key.
    """
    text = _find("suite", SUITES_FOLDER, name_or_path).read_text(encoding="utf-8")
    suite: SuiteRecipe = _parse(SuiteRecipe, text, name_or_path)
    return suite


def load_pairwise(name_or_path: str) -> PairwiseRecipe:
    """Read which judges compare captions: a shipped example by name, or a YAML file by path.

    Raises:
        RecipeError: If there is no such file, or naming every wrong key.
    """
    text = _find("file of judges", PAIRWISE_FOLDER, name_or_path).read_text(encoding="utf-8")
    pairwise: PairwiseRecipe = _parse(PairwiseRecipe, text, name_or_path)
    return pairwise


def load_system_recipe(name_or_path: str) -> SystemRecipe:
    """Read which system is under test: a shipped example by name, or a YAML file by path.

    Raises:
        RecipeError: If there is no such system, or naming every wrong key.
    """
    text = _find("system", SYSTEMS_FOLDER, name_or_path).read_text(encoding="utf-8")
    system: SystemRecipe = _parse(SystemRecipe, text, name_or_path)
    return system


def _find(kind: str, folder: Path, name_or_path: str) -> Path:
    path = Path(name_or_path)
    if path.suffix not in {".yaml", ".yml"}:
        path = folder / f"{name_or_path}.yaml"
    if not path.is_file():
        known = ", ".join(recipe_names(folder))
        raise RecipeError(f"no {kind} {name_or_path!r}: give a .yaml file or one of {known}")
    return path


def recipe_names(folder: Path = RECIPES_FOLDER) -> list[str]:
    """Return the names of the shipped recipes, or of those in another folder."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def dump_recipe(recipe: Recipe) -> str:
    """Return the recipe as YAML; `parse_recipe` gives back an equal one."""
    return write_yaml(recipe.model_dump(mode="json"))


def _is_moot(fault: dict[str, Any]) -> bool:
    """Return whether it says only that a section is not the text that may stand in its place."""
    loc = fault["loc"]
    return isinstance(fault["input"], dict) and bool(loc) and str(loc[-1]).startswith("literal[")


def _explain(fault: dict[str, Any], whole: Any) -> str:
    is_unknown = fault["type"] == "extra_forbidden"
    keys, sections = _place(fault["loc"][:-1] if is_unknown else fault["loc"], whole)
    keys += [str(fault["loc"][-1])] if is_unknown else []
    key = ".".join(keys) or "(whole recipe)"
    known = ", ".join(name for section in sections[:1] for name in section.model_fields)
    if is_unknown:
        shown = f"unknown key (value {fault['input']!r})"
        return f"  {key}: {shown}; remove it or correct its name, allowed: {known}"
    if fault["type"] == "missing":
        return f"  {key}: missing; every key must be given"
    if fault["type"] == "model_type":
        return f"  {key}: must be a section with {known}, got {fault['input']!r}"
    shown = "" if isinstance(fault["input"], dict) else f", got {fault['input']!r}"
    return f"  {key}: {fault['msg'].removeprefix('Value error, ')}{shown}"


def _place(loc: Sequence[int | str], whole: Any) -> tuple[list[str], list[type[Strict]]]:
    """Follow pydantic's path of a fault through the recipe.

    Returns:
        The path's keys as they stand in the YAML, without pydantic's names for what may stand
        there; and the sections that may.
    """
    keys: list[str] = []
    sections = _sections(whole)
    for part in loc:
        inside = [s.model_fields[part] for s in sections if part in s.model_fields]
        if sections and not inside:
            sections = [section for section in sections if part in _names(section)]
        else:
            keys.append(str(part))
            sections = _sections(inside[0].annotation) if inside else []
    return keys, sections


def _names(section: type[Strict]) -> tuple[str, ...]:
    """Return how pydantic names a section where others may stand in its place."""
    kind = section.model_fields.get("kind")
    return (section.__name__, *(get_args(kind.annotation) if kind else ()))


def _sections(annotation: Any) -> list[type[Strict]]:
    """Return the sections that a key's type allows."""
    if isinstance(annotation, type) and issubclass(annotation, Strict):
        return [annotation]
    return [section for part in get_args(annotation) for section in _sections(part)]
