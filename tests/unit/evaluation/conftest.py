import json
import random
from typing import Any

import pytest
import torch

from uae.data.starter.captions import complete_caption
from uae.data.starter.scenes import draw_scene, sample_facts
from uae.evaluation.benchmark_scenes import scene_picture
from uae.evaluation.pictures import to_images
from uae.evaluation.tiny import tiny_weights
from uae.models.tiny import tiny_recipe

NUM_SCENES = 60


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """Folder with a random bundle, scorers, detector and judge."""
    root = tmp_path_factory.mktemp("weights")
    tiny_weights(root)
    return root


@pytest.fixture(scope="session")
def scenes():
    rng = random.Random(5)
    return [sample_facts(rng) for _ in range(NUM_SCENES)]


@pytest.fixture(scope="session")
def data(tmp_path_factory, scenes):
    """A validated data set's folder with held-out and benchmark split."""
    root = tmp_path_factory.mktemp("data")
    for split in ("heldout", "benchmark"):
        (root / split).mkdir()
        rows = []
        for index, facts in enumerate(scenes):
            draw_scene(facts).save(root / split / f"{index}.png")
            row = {
                "image_id": f"{split}-{index}",
                "image": f"{index}.png",
                "caption": complete_caption(facts),
                "source": "drawn",
                "licence": "CC0-1.0",
                "split": split,
                "facts": facts.to_json(),
            }
            rows.append(json.dumps(row))
        (root / split / "captions.jsonl").write_text("\n".join(rows))
    return root


@pytest.fixture
def recipe_with(weights):
    """Make a tiny recipe on the random weights; keywords change its evaluation section."""

    def make(**evaluation: Any):
        evaluation = {"min_self_test_accuracy": 0.0, "geneval_prompts": 12} | evaluation
        return tiny_recipe(models={"base": str(weights / "autoencoder")}, evaluation=evaluation)

    return make


class Painter:
    """A system that paints, for each text, a scene that it was given; captions are complete."""

    image_size = 64

    def __init__(self, scene_of_text, scenes=()):
        self.identity = {"kind": "painter", "sha256": "0"}
        self.scene_of_text = scene_of_text
        self.scene_of_picture = {scene_picture(facts).tobytes(): facts for facts in scenes}

    def caption(self, images_BCHW, *, seed):
        pictures = images_BCHW.mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        return [complete_caption(self.scene_of_picture[p.tobytes()]) for p in pictures]

    def generate(self, texts, *, seeds, overlong="error"):
        return to_images([scene_picture(self.scene_of_text[text]) for text in texts])


@pytest.fixture(scope="session")
def painter():
    return Painter
