"""A world for stage tests: a random tiny model, a random scorer, and pictures of rectangles."""

import json
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw
from safetensors.torch import load_file, save_file

from uae.models.tiny import tiny_bundle, tiny_clip, tiny_recipe
from uae.recipe import Recipe

STAGES = (
    "pretrain_decoder",
    "cold_start",
    "generation_for_understanding",
    "understanding_for_generation",
)
COLORS = ("red", "green", "blue", "yellow", "black", "white")
PLACES = {"left": (2, 8), "right": (16, 8)}


class World(NamedTuple):
    data: Path
    bundle: Path
    clip: Path


def make_world(folder: Path) -> World:
    write_split(folder / "data" / "train", 12, first=0)
    write_split(folder / "data" / "heldout", 6, first=12)
    bundle = tiny_bundle(folder / "weights" / "autoencoder")
    clip = tiny_clip(folder / "weights" / "scorers" / "clip")
    sharpen(clip / "open_clip_model.safetensors")
    return World(folder / "data", bundle, clip)


def sharpen(file: Path) -> None:
    """Let a random scorer look at pixels more than at its constant position embeddings."""
    tensors = load_file(file)
    tensors["visual.conv1.weight"] *= 20
    save_file(tensors, file)


def write_split(folder: Path, count: int, first: int) -> None:
    folder.mkdir(parents=True)
    rows = []
    for n in range(first, first + count):
        color, place = COLORS[n % len(COLORS)], list(PLACES)[n // 2 % 2]
        image = Image.new("RGB", (32, 32), "gray")
        x, y = PLACES[place]
        ImageDraw.Draw(image).rectangle([x, y, x + 12, y + 14 + n % 3], fill=color)
        image.save(folder / f"scene-{n}.png")
        rows.append(
            {
                "image_id": f"scene-{n}",
                "image": f"scene-{n}.png",
                "caption": f"a large {color} car at the {place}",
                "source": "test",
                "licence": "CC0-1.0",
            }
        )
    (folder / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def stage_recipe(world: World, stage: str, **section) -> Recipe:
    """The tiny recipe with some keys of one stage's section changed."""
    return tiny_recipe(models={"base": str(world.bundle)}, **{stage: section})


def train(stage: str, recipe: Recipe, world: World, out: Path, **options) -> dict[str, float]:
    module = import_module(f"uae.stages.{stage}")
    return module.train(recipe, world.data, world.bundle, out, **options)


def weights(bundle: Path) -> dict:
    """Every tensor of a bundle, by file and name."""
    return {
        f"{path.relative_to(bundle)}:{name}": tensor
        for path in sorted(bundle.rglob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }


def rows(log_dir: Path) -> list[dict]:
    return [json.loads(line) for line in (log_dir / "metrics.jsonl").read_text().splitlines()]
