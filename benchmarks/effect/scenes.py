"""The data of the experiment, prepared once for all seeds and arms.

Stages may look at held-out scenes to stop early. The scenes that decide this experiment take no
part in that: the stages get some training scenes in their place.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from uae.data.dataset import Dataset, load_dataset
from uae.data.sample import Sample
from uae.data.shards import write_shards
from uae.data.validate import local_source, validate_data
from uae.errors import DataError
from uae.fingerprints import json_sha256
from uae.models.bundle import replaced_atomically
from uae.recipe import EarlyStoppingRecipe, Recipe
from uae.seeds import derive_seed

SPLIT_SEED = 0  # one split for all seeds: they are compared on the same scenes


@dataclass(frozen=True)
class Scenes:
    """Where the stages train and where the models are judged; `key` names the content."""

    key: str
    folder: Path

    @property
    def training(self) -> Path:
        return self.folder / "training"

    @property
    def judging(self) -> Path:
        return self.folder / "validated"


def find_scenes(recipe: Recipe, source: str, root: Path) -> Scenes:
    """Return where the scenes of a source are, or will be once prepared.

    Raises:
        DataError: If the source cannot be read.
    """
    with local_source(source) as path:
        revision = load_dataset(path).revision
    decisive = {
        "revision": revision,
        "data": recipe.data.model_dump(mode="json"),
        "watched": num_watched(recipe),
    }
    key = json_sha256(decisive)
    return Scenes(key, root / "data" / key[:16])


def num_watched(recipe: Recipe) -> int:
    """Return how many scenes the stages may look at to stop early."""
    sections = (recipe.generation_for_understanding, recipe.understanding_for_generation)
    asked: list[EarlyStoppingRecipe | None] = [section.early_stopping for section in sections]
    return max((found.num_samples for found in asked if found is not None), default=1)


def prepare_scenes(recipe: Recipe, source: str, scenes: Scenes, num_judged: int) -> None:
    """Validate the data and lay it out for training and judging, unless that was done before.

    Raises:
        DataError: If the data breaks a rule, or has fewer held-out scenes than are to be judged.
    """
    if not scenes.folder.is_dir():
        settled = recipe.model_copy(update={"seed": SPLIT_SEED})
        with replaced_atomically(scenes.folder) as partial:
            validate_data(settled, source, partial / "validated", partial / "data-report.html")
            _set_aside(load_dataset(partial / "validated" / "train"), recipe, partial / "training")
    num_heldout = len(load_dataset(scenes.judging / "heldout"))
    if num_heldout < num_judged:
        raise DataError(
            f"{source} has {num_heldout} held-out scenes, {num_judged} are to be judged: give "
            f"--scenes {num_heldout} or more data"
        )


def _set_aside(train: Dataset, recipe: Recipe, folder: Path) -> None:
    count = num_watched(recipe)
    if count >= len(train):
        raise DataError(f"{len(train)} training scenes, {count} of them needed for early stopping")
    order = sorted(train, key=lambda sample: derive_seed(SPLIT_SEED, "effect", sample.image_id))
    watched = {sample.image_id for sample in order[:count]}
    parts: dict[str, Sequence[Sample]] = {
        "heldout": [replace(s, split="heldout") for s in train if s.image_id in watched],
        "train": [sample for sample in train if sample.image_id not in watched],
    }
    for name, samples in parts.items():
        write_shards(folder / name, name, samples)
