"""A pool of drawn scenes: training the base weights draws batches from it, not pixels."""

import random

import numpy as np
from numpy.typing import NDArray

from uae.data.facts import SceneFacts
from uae.data.starter.scenes import Split, draw_scene, sample_facts
from uae.data.starter.vocabulary import IMAGE_SIZE


def scene_pool(
    num_scenes: int, seed: int, *, split: Split = "train", max_objects: int = 4
) -> tuple[NDArray[np.uint8], list[SceneFacts]]:
    """Draw scenes of one split; images are (num_scenes, 64, 64, 3) uint8."""
    rng = random.Random(seed)
    facts = [sample_facts(rng, max_objects, split) for _ in range(num_scenes)]
    images = np.empty((num_scenes, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8)
    for image, truth in zip(images, facts, strict=True):
        image[:] = np.asarray(draw_scene(truth))
    return images, facts
