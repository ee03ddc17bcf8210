import json
import random
from typing import Any

import pytest
import torch

from uae.data.starter.captions import complete_caption
from uae.data.starter.scenes import draw_scene, sample_facts
from uae.evaluation.benchmark_scenes import scene_picture
from uae.evaluation.context import Context
from uae.evaluation.systems.base import Capabilities, Failure
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
        evaluation = {"min_self_test_accuracy": 0.0, "geneval": {"num_prompts": 12}} | evaluation
        return tiny_recipe(models={"base": str(weights / "autoencoder")}, evaluation=evaluation)

    return make


@pytest.fixture
def context(weights, data, recipe_with):
    """Make a context of the tiny recipe; keywords replace fields."""

    def make(**changes: Any):
        fields = {
            "seed": 0,
            "judging": recipe_with().evaluation,
            "weights": weights,
            "data": data,
            "device": torch.device("cpu"),
            "show_progress": False,
        }
        return Context(**(fields | changes))

    return make


class Painter:
    """A system that paints, for each text, a scene that it was given; captions are complete.

    A text in `failing` is refused, as a server refuses one; `dies_after` requests it breaks down,
    as a process does that is killed.
    """

    def __init__(self, scene_of_text, scenes=(), *, failing=(), dies_after=None, name="painter"):
        self.identity = {"name": name, "kind": "painter", "sha256": "0" * 64}
        self.capabilities = Capabilities(captions=True, pictures=True)
        self.settings = {"brush": "fine"}
        self.scene_of_text = scene_of_text
        self.scene_of_picture = {scene_picture(facts).tobytes(): facts for facts in scenes}
        self.failing = failing
        self.left = dies_after
        self.num_requests = 0

    def _live(self, requests):
        self.num_requests += len(requests)
        if self.left is not None:
            self.left -= len(requests)
            if self.left < 0:
                raise RuntimeError("killed")

    def caption(self, requests):
        self._live(requests)
        return [
            complete_caption(self.scene_of_picture[request.picture.tobytes()])
            for request in requests
        ]

    def generate(self, requests):
        self._live(requests)
        return [
            Failure("refused")
            if request.text in self.failing
            else scene_picture(self.scene_of_text[request.text])
            for request in requests
        ]

    def close(self):
        pass


@pytest.fixture(scope="session")
def painter():
    return Painter
