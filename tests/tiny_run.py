"""What a whole run needs, small: some drawn scenes, random weights, a recipe of two updates."""

import json
import random
from pathlib import Path
from typing import Any

from uae.data.starter.captions import complete_caption
from uae.data.starter.scenes import draw_scene, sample_facts
from uae.recipe_files import dump_recipe

SPLITS = ("train",) * 8 + ("heldout",) * 4 + ("benchmark",) * 16


def write_data(folder: Path) -> Path:
    """Write scenes with facts, in all three splits."""
    rows = []
    (folder / "images").mkdir(parents=True)
    for index, split in enumerate(SPLITS):
        facts = sample_facts(random.Random(index), split=split)
        draw_scene(facts).save(folder / "images" / f"{index:03d}.png")
        rows.append(
            {
                "image_id": f"scene-{index:03d}",
                "image": f"images/{index:03d}.png",
                "caption": complete_caption(facts),
                "source": "drawn",
                "licence": "MIT",
                "split": split,
                "facts": facts.to_json(),
            }
        )
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "captions.jsonl").write_text(text, encoding="utf-8")
    return folder


def write_recipe(folder: Path, **overrides: Any) -> Path:
    """Write random base weights and the recipe that uses them; return the recipe's path."""
    from uae.evaluation.tiny import tiny_weights
    from uae.models.tiny import tiny_recipe

    base = tiny_weights(folder / "weights")
    evaluation = {"min_self_test_accuracy": 0.0} | overrides.pop("evaluation", {})
    recipe = tiny_recipe(models={"base": str(base)}, evaluation=evaluation, **overrides)
    path = folder / "tiny.yaml"
    path.write_text(dump_recipe(recipe), encoding="utf-8")
    return path
