"""How well a detector finds what is known to be in held-out scenes."""

import random
from collections import Counter
from pathlib import Path

import numpy as np

from uae.data.starter.scenes import draw_scene, sample_facts
from uae.evaluation.geneval.detector_loading import load_detector
from uae.evaluation.geneval.rules import COUNTING_THRESHOLD, SCORE_THRESHOLD

NUM_SCENES = 300
SEED = 71


def measure_detector(folder: Path) -> dict[str, float]:
    """Return precision and recall of classes, and how often a whole scene's count is right.

    A detection is right if an object of its class contains its box's centre; each object once.
    """
    rng = random.Random(SEED)
    facts = [sample_facts(rng, split="heldout") for _ in range(NUM_SCENES)]
    detector = load_detector(folder, batch_size=64)
    detections = detector.detect([np.asarray(draw_scene(truth)) for truth in facts])
    found = right = total = 0
    counted = {SCORE_THRESHOLD: 0, COUNTING_THRESHOLD: 0}
    for truth, seen in zip(facts, detections, strict=True):
        left = list(truth.objects)
        for detection in seen:
            x, y = (
                (detection.box[0] + detection.box[2]) / 2,
                (detection.box[1] + detection.box[3]) / 2,
            )
            hit = next(
                (o for o in left if o.name == detection.name
                 and o.box[0] <= x <= o.box[2] and o.box[1] <= y <= o.box[3]),
                None,
            )  # fmt: skip
            if hit is not None:
                left.remove(hit)
                right += 1
        found += len(seen)
        total += len(truth.objects)
        for threshold in counted:
            names = Counter(d.name for d in seen if d.score > threshold)
            counted[threshold] += names == Counter(o.name for o in truth.objects)
    return {"precision": right / max(found, 1), "recall": right / total} | {
        f"counts_right_{t}": number / NUM_SCENES for t, number in counted.items()
    }
