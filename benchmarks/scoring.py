"""How much of their bare forward throughput detector and scorers keep while they score files.

Bare: the models on inputs that are prepared already. Scoring: the same pictures from PNG files to
rows of evidence, decoding, preparing, post-processing and the journal included. Shipped models,
64 x 64 pixels, where a forward pass is shortest and everything else weighs most.
"""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from measurement import Measurement

from uae.data.facts import SceneFacts
from uae.data.starter.vocabulary import STARTER_DATA
from uae.evaluation.benchmark_scenes import load_benchmark_scenes, scene_picture
from uae.evaluation.context import Context
from uae.evaluation.geneval.colors import masked_crop
from uae.evaluation.geneval.models import load_models
from uae.evaluation.geneval.phases import Phases
from uae.evaluation.geneval.prompts import load_prompts
from uae.evaluation.geneval.rules import keep_objects, needs_color
from uae.evaluation.journal import Journal
from uae.evaluation.pictures import Pixels, write_png
from uae.evaluation.systems.base import Capabilities, PictureRequest
from uae.evaluation.unified_bench.features import FeatureReader
from uae.evaluation.unified_bench.scorers import SlotScorer, load_scorer_slot
from uae.models.bundle import weights_root
from uae.recipe import Recipe
from uae.training.numerics import exact_numerics

REPEATS = 5
NUM_PICTURES = 256
SHARE = 0.9  # of the bare models' throughput


def measure(recipe: Recipe, folder: Path) -> Iterator[Measurement]:
    """Time both, the fastest of several turns each, taken by turns."""
    with exact_numerics(recipe.models.num_threads) as device:
        context = Context(
            seed=recipe.seed,
            judging=recipe.evaluation,
            weights=weights_root(recipe.models.base),
            data=STARTER_DATA,
            device=device,
            show_progress=False,
        )
        yield from _detector(recipe, context, folder / "geneval")
        yield from _scorers(recipe, context, folder / "scorers")


class Scenes:
    """A system that paints the scenes that prompts were made from."""

    identity: Mapping[str, str] = {"name": "scenes", "kind": "drawn", "sha256": "0" * 64}
    capabilities = Capabilities(captions=False, pictures=True)
    settings: Mapping[str, Any] = {}

    def __init__(self, scene_of_text: Mapping[str, SceneFacts]) -> None:
        self._scene_of_text = scene_of_text

    def generate(self, requests: Sequence[PictureRequest]) -> list[Pixels]:
        return [scene_picture(self._scene_of_text[request.text]) for request in requests]


@torch.inference_mode()
def _detector(recipe: Recipe, context: Context, folder: Path) -> Iterator[Measurement]:
    settings = recipe.evaluation.geneval.model_copy(update={"images_per_prompt": 8})
    size = context.judging.batch_size
    asked = load_prompts(settings, context)
    models = load_models(settings, context.weights, batch_size=size, device=context.device)
    phases = Phases(context, asked, settings.images_per_prompt, folder)
    journal = Journal.open(folder, {"benchmark": "speed"})
    phases.paint(journal, Scenes(dict(zip(asked.texts, asked.scenes, strict=True))))  # type: ignore[arg-type]
    detector: Any = models.detector
    colors: Any = models.colors
    inputs, crops = [], []
    for start in range(0, len(phases.places), size):
        asked_for = [asked.prompts[place.number] for place in phases.places[start : start + size]]
        numbers = [place.number for place in phases.places[start : start + size]]
        batch = [scene_picture(asked.scenes[number]) for number in numbers]
        inputs.append(detector.image_processor(images=batch, return_tensors="pt")["pixel_values"])
        found = detector.objects(detector.infer(batch))
        colored = [
            colors.transform(masked_crop(picture, detection))
            for picture, objects, prompt in zip(batch, found, asked_for, strict=True)
            for detection in needs_color(keep_objects(objects, prompt.tag), prompt)
        ]
        crops += [torch.stack(colored[at : at + size]) for at in range(0, len(colored), size)]

    def score() -> None:
        shutil.rmtree(folder / "journal" / "judged", ignore_errors=True)
        phases.judge(journal, models)

    def bare() -> None:
        for pixels in inputs:
            detector.model(pixels)
        for pixels in crops:
            colors.model.encode_image(pixels, normalize=True)

    name = "GenEval, detector and colours"
    yield from _compared(name, len(phases.places), score, bare)


@torch.inference_mode()
def _scorers(recipe: Recipe, context: Context, folder: Path) -> Iterator[Measurement]:
    size = context.judging.batch_size
    scenes = load_benchmark_scenes(STARTER_DATA).scenes
    pictures = [scene_picture(scenes[n % len(scenes)][1]) for n in range(NUM_PICTURES)]
    paths = [folder / f"{number}.png" for number in range(NUM_PICTURES)]
    for picture, path in zip(pictures, paths, strict=True):
        write_png(picture, path)
    scorers = {
        slot: load_scorer_slot(name, context.weights, device=context.device)
        for slot, name in recipe.evaluation.unified_bench.slots.items()
    }
    starts = range(0, NUM_PICTURES, size)
    prepared = [
        (scorer, scorer.prepare(pictures[start : start + size][part]))
        for scorer in scorers.values()
        for start in starts
        for part in scorer.cut(len(pictures[start : start + size]), size)
    ]

    def score() -> None:
        _read(scorers, paths, size)

    def bare() -> None:
        for scorer, inputs in prepared:
            scorer.encode(inputs)

    yield from _compared("Unified-Bench, four scorers", NUM_PICTURES, score, bare)


def _read(scorers: Mapping[str, SlotScorer], paths: Sequence[Path], size: int) -> None:
    with FeatureReader(scorers, size) as reader:
        for start in range(0, len(paths), size):
            upcoming = paths[start + size : start + 2 * size]
            reader.features([paths[start : start + size]], upcoming)


def _compared(
    name: str, count: int, score: Callable[[], None], bare: Callable[[], None]
) -> Iterator[Measurement]:
    times: dict[str, list[float]] = {"scoring": [], "bare": []}
    for repeat in range(REPEATS + 1):
        for kind, work in (("scoring", score), ("bare", bare)):
            start = time.perf_counter()
            work()
            if repeat:  # the first turn warms up
                times[kind].append(time.perf_counter() - start)
    fastest = {kind: min(seconds) for kind, seconds in times.items()}
    for kind, seconds in fastest.items():
        yield Measurement(f"{name}, {kind}", count / seconds, "pictures/s")
    share = fastest["bare"] / fastest["scoring"]
    yield Measurement(f"{name}, share of the bare throughput", share, "", at_least=SHARE)
