"""The data of the experiment, prepared once for all seeds and arms.

No stage learns from held-out scenes, or chooses weights by them: early stopping looks at training
scenes set aside.
"""

from dataclasses import dataclass
from pathlib import Path

from uae.data.dataset import load_dataset
from uae.data.validate import local_source, validate_data
from uae.errors import DataError
from uae.fingerprints import json_sha256
from uae.recipe import Recipe

SPLIT_SEED = 0  # one split for all seeds: they are compared on the same scenes


@dataclass(frozen=True)
class Scenes:
    """Where the validated scenes lie; `key` names the content."""

    key: str
    folder: Path


def find_scenes(recipe: Recipe, source: str, root: Path) -> Scenes:
    """Return where the scenes of a source are, or will be once prepared.

    Raises:
        DataError: If the source cannot be read.
    """
    with local_source(source) as path:
        revision = load_dataset(path).revision
    key = json_sha256({"revision": revision, "data": recipe.data.model_dump(mode="json")})
    return Scenes(key, root / "data" / key[:16])


def prepare_scenes(recipe: Recipe, source: str, scenes: Scenes, num_judged: int) -> None:
    """Validate the data, unless that was done before.

    Raises:
        DataError: If the data breaks a rule, or has fewer held-out scenes than are to be judged.
    """
    if not scenes.folder.is_dir():
        settled = recipe.model_copy(update={"seed": SPLIT_SEED})
        scenes.folder.parent.mkdir(parents=True, exist_ok=True)
        validate_data(settled, source, scenes.folder, scenes.folder.with_suffix(".html"))
    num_heldout = len(load_dataset(scenes.folder / "heldout"))
    if num_heldout < num_judged:
        raise DataError(
            f"{source} has {num_heldout} held-out scenes, {num_judged} are to be judged: give "
            f"--scenes {num_heldout} or more data"
        )
