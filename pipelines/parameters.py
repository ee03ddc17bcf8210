"""A compiled package: what it takes, and what it is given, checked before anything is sent."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from uae.errors import StoreError, SubmitError
from uae.launch.location import RUN_ID
from uae.recipe_files import dump_recipe, load_recipe, parse_recipe

TYPES = {
    "STRING": "text",
    "NUMBER_INTEGER": "a whole number",
    "NUMBER_DOUBLE": "a number",
    "BOOLEAN": "true or false",
    "LIST": "a list",
    "STRUCT": "an object",
}
SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same, ten times as fast
LARGEST_WHOLE = 2**53  # the API keeps every number as a double


@dataclass(frozen=True)
class Package:
    """A compiled pipeline."""

    source: str
    spec: dict[str, Any]  # as it is sent: pipeline spec, and platform spec if there is one

    @classmethod
    def read(cls, path: Path) -> Package:
        """Read a package.

        Raises:
            SubmitError: If the file is something else.
        """
        try:
            documents = [*yaml.load_all(path.read_text(encoding="utf-8"), Loader=SafeLoader)]
            pipeline = json_format.ParseDict(documents[0], pipeline_spec_pb2.PipelineSpec())
            platform = pipeline_spec_pb2.PlatformSpec()
            for document in documents[1:]:
                json_format.ParseDict(document, platform)
        except (
            OSError,
            ValueError,
            IndexError,
            TypeError,
            AttributeError,
            yaml.YAMLError,
        ) as error:
            raise SubmitError(f"{path} is no compiled pipeline: {error}") from error
        except json_format.ParseError as error:
            raise SubmitError(f"{path} is no compiled pipeline: {error}") from error
        spec = json_format.MessageToDict(pipeline)
        if "root" not in spec:
            raise SubmitError(f"{path} is no compiled pipeline: it has no tasks")
        if platform.ByteSize():
            spec = {"pipeline_spec": spec, "platform_spec": json_format.MessageToDict(platform)}
        return cls(str(path), spec)

    @property
    def pipeline(self) -> dict[str, Any]:
        """The pipeline without what is only for a platform."""
        inner: dict[str, Any] = self.spec.get("pipeline_spec", self.spec)
        return inner

    @property
    def definitions(self) -> dict[str, dict[str, Any]]:
        """What the pipeline takes: name -> parameterType, defaultValue, isOptional."""
        found: dict[str, dict[str, Any]] = (
            self.pipeline["root"].get("inputDefinitions", {}).get("parameters", {})
        )
        return found

    def from_texts(self, given: Mapping[str, str], folder: Path) -> dict[str, Any]:
        """Check parameters as a command line gives them.

        Args:
            given: Name -> text; lists and objects as JSON.
            folder: From where the recipe's file is looked for.

        Raises:
            SubmitError: Naming every fault with what is allowed.
            RecipeError: If the recipe is not valid.
        """
        return self._check(given, folder, _from_text)

    def from_values(self, given: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        """Check parameters that have types already, as from a YAML file; see `from_texts`."""
        return self._check(given, folder, _checked)

    def _check(
        self, given: Mapping[str, Any], folder: Path, read: Callable[[str, Any], Any]
    ) -> dict[str, Any]:
        faults, values = [], {}
        for name, value in given.items():
            try:
                values[name] = read(self._type(name), value)
            except _Wrong as fault:
                faults.append(f"  {name}: {fault}")
        return self._finish(values, faults, folder)

    def _type(self, name: str) -> str:
        if name not in self.definitions:
            raise _Wrong(f"no such parameter; there are {', '.join(sorted(self.definitions))}")
        return str(self.definitions[name]["parameterType"])

    def _finish(self, values: dict[str, Any], faults: list[str], folder: Path) -> dict[str, Any]:
        for name, check in CHECKS.items():
            if name in values:
                try:
                    check(values[name])
                except (_Wrong, StoreError) as fault:
                    faults.append(f"  {name}: {fault}")
        faults += [
            f"  {name}: missing; the pipeline has no default for it"
            for name, definition in self.definitions.items()
            if name not in values
            and "defaultValue" not in definition
            and not definition.get("isOptional")
        ]
        if faults:
            raise SubmitError(f"wrong parameters for {self.source}:\n" + "\n".join(faults))
        if "recipe" in values:
            values["recipe"] = recipe_text(values["recipe"], folder)
        return values


class _Wrong(Exception):
    """A value that its parameter does not take."""


def recipe_text(recipe: str, folder: Path) -> str:
    """Return a recipe given by name, by file or as text as checked YAML text.

    Base weights and scorers that it names are those of the cluster, and are looked for there.

    Raises:
        RecipeError: If there is none, or it is not valid.
    """
    one_line = "\n" not in recipe.strip()
    if one_line and recipe.strip().endswith((".yaml", ".yml")):
        return dump_recipe(load_recipe(str(folder / recipe.strip())))
    if ":" in recipe:
        return dump_recipe(parse_recipe(recipe))
    return dump_recipe(load_recipe(recipe.strip()))


def _from_text(kind: str, text: str) -> Any:
    read: dict[str, Callable[[str], Any]] = {
        "NUMBER_INTEGER": int,
        "NUMBER_DOUBLE": float,
        "BOOLEAN": lambda word: {"true": True, "false": False}[word.lower()],
        "LIST": json.loads,
        "STRUCT": json.loads,
    }
    try:
        return _checked(kind, read.get(kind, str)(text))
    except (ValueError, KeyError, _Wrong):
        suffix = " as JSON" if kind in ("LIST", "STRUCT") else ""
        raise _Wrong(f"must be {TYPES.get(kind, kind)}{suffix}, got {text!r}") from None


def _checked(kind: str, value: Any) -> Any:
    """Return the value if it is of the type, which for bool is not int."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    fits = {
        "STRING": isinstance(value, str),
        "NUMBER_INTEGER": isinstance(value, int) and number and abs(value) <= LARGEST_WHOLE,
        "NUMBER_DOUBLE": number and math.isfinite(value),
        "BOOLEAN": isinstance(value, bool),
        "LIST": isinstance(value, list) and _is_json(value),
        "STRUCT": isinstance(value, dict) and _is_json(value),
    }
    if not fits.get(kind, False):
        raise _Wrong(f"must be {TYPES.get(kind, kind)}, got {value!r}")
    return value


def _is_json(value: Any) -> bool:
    """Whether it can be sent: YAML knows dates and infinities, too."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


def _check_run_id(value: str) -> None:
    if value and not RUN_ID.fullmatch(value):
        raise _Wrong(f"must be letters, digits, '.', '_' and '-', or empty, got {value!r}")


def _check_endpoint(value: str) -> None:
    from uae.store.s3 import parse_endpoint

    parse_endpoint(value)


def _check_data(value: str) -> None:
    if value != "starter" and not re.match(r"s3://[^/]+|/", value):
        raise _Wrong(
            f'must be "starter", s3://bucket/prefix or a folder mounted in the pods, got {value!r}'
        )


CHECKS = {"run_id": _check_run_id, "endpoint": _check_endpoint, "data": _check_data}
