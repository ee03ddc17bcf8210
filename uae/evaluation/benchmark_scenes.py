"""The known scenes that GenEval's and DPG-Bench's starter prompts are made from."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from uae.data.dataset import load_dataset
from uae.data.facts import SceneFacts
from uae.data.starter.scenes import draw_scene
from uae.data.starter.vocabulary import STARTER_DATA
from uae.errors import EvaluationError
from uae.evaluation.pictures import Pixels


@dataclass(frozen=True)
class BenchmarkScenes:
    """Scenes with their ids, and where they come from."""

    source: str
    scenes: tuple[tuple[str, SceneFacts], ...]


def load_benchmark_scenes(data: Path) -> BenchmarkScenes:
    """Read the benchmark split of a validated data set, or else the shipped one.

    A benchmark's prompts belong to the model's domain, not to the training data: with data that has
    no benchmark scenes (somebody's photographs) the shipped ones serve, and the result says so.

    Raises:
        EvaluationError: If a benchmark sample has no facts, naming it, or there is none.
    """
    own = data / "benchmark"
    source = "data" if own.is_dir() else "starter"
    dataset = load_dataset(own if own.is_dir() else STARTER_DATA)
    samples = [sample for sample in dataset if own.is_dir() or sample.split == "benchmark"]
    unknown = [sample.image_id for sample in samples if sample.facts is None]
    if unknown or not samples:
        raise EvaluationError(
            f"the benchmark split needs samples with facts; {len(samples)} samples, without "
            f"facts: {unknown[:20]}"
        )
    scenes = [(s.image_id, s.facts) for s in samples if s.facts is not None]
    return BenchmarkScenes(source, tuple(scenes))


def scene_picture(facts: SceneFacts) -> Pixels:
    """Return the scene as its facts draw it: a picture whose every answer is known."""
    return np.array(draw_scene(facts).convert("RGB"))
