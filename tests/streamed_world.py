"""The pictures of a stage test's world once more: sharded, validated, and streamed."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image
from stage_world import World

from uae.data.dataset import load_dataset
from uae.data.sharding.run import shard_data
from uae.data.shards import write_shard
from uae.data.streaming.reference import read_index, write_reference
from uae.recipe import Recipe

NUM_SHARDS = 4
STREAMING = {
    "cache_gib": 1.0,
    "window_shards": 2,
    "num_workers": 2,
    "num_ahead": 2,
    "on_broken": "error",
}


def streamed(recipe: Recipe, **changes: object) -> Recipe:
    """The same recipe, reading its samples as they are needed."""
    values = recipe.model_dump()
    values["data"]["streaming"] = STREAMING | changes
    return Recipe.model_validate(values)


def make_pairs(world: World, folder: Path, broken: str | None, *, unequal: bool) -> Path:
    """Put the splits into one folder, with files so large that they fill several shards.

    Unequal captions have 7, 9 or 11 words, all others 7. Instead of the picture with the id
    `broken` there is one with half of its pixels missing.
    """
    folder.mkdir(parents=True)
    lines, noise = [], np.random.default_rng(0)
    for split in ("train", "heldout"):
        for line in (world.data / split / "captions.jsonl").read_text().splitlines():
            row = json.loads(line)
            name = row["image"]
            picture = (world.data / split / name).read_bytes()
            if row["image_id"] == broken:
                picture = _half_a_picture(noise)
            if unequal:
                row["caption"] += " a cat" * (len(lines) % 3)
            (folder / name).write_bytes(picture + noise.bytes(230_000))  # behind its last chunk
            lines.append(json.dumps(row | {"split": split}) + "\n")
    (folder / "captions.jsonl").write_text("".join(lines))
    return folder


def _half_a_picture(noise: np.random.Generator) -> bytes:
    """Return a file whose header is good."""
    file = io.BytesIO()
    Image.fromarray(noise.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(file, "PNG")
    data = bytearray(file.getvalue())
    data[len(data) // 2 : -16] = bytes(len(data) - len(data) // 2 - 16)  # chunks stay in place
    return bytes(data)


def make_streamed(
    world: World,
    folder: Path,
    *,
    num_aside: int = 1,
    broken: str | None = None,
    unequal: bool = False,
) -> World:
    """Return the world with the same data, as validation leaves it of shards.

    The last `num_aside` training samples are set aside.
    """
    pairs = make_pairs(world, folder / "pairs", broken, unequal=unequal)
    index = shard_data(str(pairs), str(folder / "shards"), shard_size_mb=1)
    assert len(index.shards) >= NUM_SHARDS
    shutil.rmtree(pairs)
    numbers = index.numbers_of("train")
    trained = numbers[: len(numbers) - num_aside]
    write_reference(folder / "data", read_index(str(folder / "shards"), None), trained)
    shutil.copytree(world.data / "heldout", folder / "data" / "heldout")
    ids = [index.key(number) for number in numbers[len(trained) :]]
    kept = [sample for sample in load_dataset(world.data / "train") if sample.image_id in ids]
    write_shard(folder / "data" / "set_aside" / "aside.tar", kept)
    return world._replace(data=folder / "data")
