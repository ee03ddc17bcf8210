"""Pictures and captions of the recipe's size, in the form in which its stages read them."""

import json
import shutil
from pathlib import Path

import numpy as np

from benchmarks.streaming import WORDS, picture
from uae.data.sharding.run import shard_data
from uae.data.validate import validate_data
from uae.recipe import Recipe, TrainedStage

NUM_HELDOUT = 64  # the most that a stage measures at once
_CAPTION_WORDS = 600  # more than a condition holds: every caption fills it
_NUM_DRAWN = 8  # others differ from these in their last bytes


def write_pairs(recipe: Recipe, num_updates: int, out: Path) -> Path:
    """Write a data set that is as large as the updates of the largest stage.

    Args:
        recipe: Its picture size, its batches, and whether it streams.
        num_updates: Of each stage.
        out: A new folder.

    Returns:
        What a stage is given as its data.
    """
    stages: list[TrainedStage] = [
        recipe.pretrain_decoder,
        recipe.cold_start,
        recipe.generation_for_understanding,
        recipe.understanding_for_generation,
    ]
    num_train = num_updates * max(stage.batch_size for stage in stages)
    source = out / "pairs"
    _draw(source, recipe.data.image_size, num_train)
    if recipe.data.streaming is not None:
        shard_data(str(source), str(out / "shards"))
        source = out / "shards"
    validate_data(recipe, str(source), out / "data", out / "data.html")
    shutil.rmtree(out / "pairs")
    return out / "data"


def _draw(folder: Path, size: int, num_train: int) -> None:
    rng = np.random.default_rng(0)
    side = max(size, 16)
    drawn = [picture(rng, side, side) for _ in range(_NUM_DRAWN)]
    (folder / "images").mkdir(parents=True)
    rows = []
    for number in range(num_train + NUM_HELDOUT):
        name = f"images/{number:06d}.jpg"
        (folder / name).write_bytes(drawn[number % _NUM_DRAWN] + b"%d" % number)
        words = rng.integers(0, len(WORDS), _CAPTION_WORDS)
        row = {
            "image_id": f"{number:06d}",
            "image": name,
            "caption": " ".join(WORDS[word] for word in words),
            "source": "drawn",
            "licence": "CC0-1.0",
            "split": "train" if number < num_train else "heldout",
        }
        rows.append(json.dumps(row) + "\n")
    (folder / "captions.jsonl").write_text("".join(rows), encoding="utf-8")
