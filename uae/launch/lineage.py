"""Where an output comes from, as metadata of its artifact: a pipeline's user interface shows it.

kfp's launcher refuses a step's outputs when a value is null: what is not known has no key.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

from uae.errors import DataError
from uae.fingerprints import json_sha256
from uae.recipe_files import parse_recipe
from uae.records import Artifact


def lineage(recipe: str, data: Artifact, parent: Artifact | None) -> dict[str, str]:
    """Return data revision, recipe hash, code version and, if there is one, the parent model.

    Args:
        recipe: The settled recipe as YAML text.
        data: The validated data set.
        parent: The model that this output was made from or is about.

    Raises:
        RecipeError: If the recipe is not valid.
        DataError: If the data set has no data.json.
    """
    path = Path(data.path) / "data.json"
    if not path.is_file():
        raise DataError(f"{data.path} is no validated data set: it has no data.json")
    known = {
        "data_revision": json.loads(path.read_text(encoding="utf-8"))["revision"],
        "recipe_sha256": json_sha256(parse_recipe(recipe).model_dump(mode="json")),
        "code_version": version("uae"),
    }
    if parent is not None:
        known["parent_uri"] = parent.metadata.get("stored_at", parent.uri)
        if "sha256" in parent.metadata:
            known["parent_sha256"] = parent.metadata["sha256"]
    return known
