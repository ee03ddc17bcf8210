"""GenEval: does a generated picture hold the objects, counts, colours and positions asked for?

Pictures are painted into the official folder layout (00000/metadata.jsonl, 00000/samples/0000.png)
and scored from there, so that pictures made by other tools can be scored too. Score: image accuracy
of each task, then the plain mean of the tasks. Before scoring, detector and colour classifier must
pass a self-test on pictures whose verdict is known.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from uae.data.facts import SceneFacts
from uae.data.geneval import Prompt
from uae.data.starter.prompts import scene_prompts
from uae.data.starter.vocabulary import COLORS
from uae.errors import EvaluationError
from uae.evaluation.benchmark_scenes import load_benchmark_scenes, scene_picture
from uae.evaluation.bootstrap import group_mean_interval
from uae.evaluation.classification import colors_asked_and_seen
from uae.evaluation.geneval.colors import OFFICIAL_TEMPLATES, ColorClassifier, OpenClipColors
from uae.evaluation.geneval.detector import Detector
from uae.evaluation.geneval.detector_loading import load_detector
from uae.evaluation.geneval.images import check_folder, paint_folder, picture_seed, sample_path
from uae.evaluation.geneval.rules import (
    Detection,
    Verdict,
    by_class,
    judge,
    keep_objects,
    needs_color,
    with_colors,
)
from uae.evaluation.judges.files import COLOR_SCORER
from uae.evaluation.pictures import Pixels, read_png
from uae.evaluation.results import generation_settings, write_results
from uae.evaluation.self_test import SelfTest
from uae.evaluation.systems.bundle import BundleSystem
from uae.fingerprints import json_sha256
from uae.models.bundle import weights_root
from uae.recipe import Recipe
from uae.seeds import derive_seed
from uae.training.numerics import exact_numerics

PROTOCOL = "geneval"
VERSION = 1


@dataclass(frozen=True)
class GenevalModels:
    """What looks at the pictures."""

    detector: Detector
    colors: ColorClassifier

    @property
    def identities(self) -> dict[str, dict[str, str]]:
        """What judged, for the result."""
        return {"detector": self.detector.identity, "colors": self.colors.identity}


class Evidence(NamedTuple):
    """A verdict and the objects it rests on, colours filled in where a rule read them."""

    verdict: Verdict
    objects: list[Detection]


def evaluate(recipe: Recipe, data: Path, model: Path, out: Path) -> dict[str, Any]:
    """Judge a model bundle on prompts made from benchmark scenes.

    Args:
        recipe: `evaluation` says how many prompts and pictures.
        data: Folder that `validate_data` wrote; its benchmark split is used, else the shipped one.
        model: Model bundle.
        out: Receives results.json, samples.parquet and images/ in the official layout.

    Returns:
        The content of results.json; scores are shares, 0 to 1.

    Raises:
        EvaluationError: If there are too few scenes, or the self-test fails.
        ModelError: If the model, the detector or the colour classifier cannot be loaded.
    """
    settings = recipe.evaluation
    benchmark = load_benchmark_scenes(data)
    pairs = scene_prompts([facts for _, facts in benchmark.scenes], settings.geneval_prompts)
    prompts = [prompt for prompt, _ in pairs]
    with exact_numerics(recipe.models) as device:
        models = load_starter_models(weights_root(recipe.models.base), settings.batch_size, device)
        check = self_test(models, pairs)
        check.require(settings.min_self_test_accuracy)
        system = BundleSystem.load(model, settings, device=device)
        paint_folder(recipe, system, prompts, out / "images")
        scored = score_folder(recipe, prompts, models, out)
    extra = {
        "prompts": {
            "source": benchmark.source,
            "sha256": json_sha256([prompt.to_json() for prompt in prompts]),
            "count": len(prompts),
        },
        "system": system.identity,
        "self_test": check.to_json(),
        "classification": {"self_test": check.classification(), **scored.classification},
    }
    return write_results(out, scored.results | extra, scored.samples)


def load_starter_models(root: Path, batch_size: int, device: torch.device | str) -> GenevalModels:
    """Load the detector, and the starter's CLIP as colour classifier over the starter's colours.

    Raises:
        ModelError: If one is missing or its weights do not fit.
    """
    return GenevalModels(
        load_detector(root / "detector", batch_size=batch_size, device=device),
        OpenClipColors.load(
            root / "scorers" / COLOR_SCORER,
            colors=tuple(COLORS),
            templates=OFFICIAL_TEMPLATES,
            batch_size=batch_size,
            device=device,
        ),
    )


def check_vocabulary(models: GenevalModels, prompts: Sequence[Prompt]) -> None:
    """Refuse prompts that ask for what the models can never find: they would count as wrong.

    Raises:
        EvaluationError: Naming the unknown classes and colours.
    """
    classes = {entry.name for prompt in prompts for entry in prompt.include}
    classes |= {entry.name for prompt in prompts for entry in prompt.exclude}
    classes -= set(models.detector.classes)
    colors = {entry.color for prompt in prompts for entry in prompt.include if entry.color}
    colors -= set(models.colors.colors)
    if classes or colors:
        raise EvaluationError(
            f"the prompts name classes {sorted(classes)} and colours {sorted(colors)} that the "
            f"detector or the colour classifier does not know: use models that fit the prompts"
        )


def judge_pictures(
    models: GenevalModels, pictures: Sequence[Pixels], prompts: Sequence[Prompt]
) -> list[Evidence]:
    """Apply the rules to each picture and its prompt; all model calls are batched.

    Raises:
        EvaluationError: If the prompts name classes or colours that the models do not know.
    """
    check_vocabulary(models, prompts)
    detections = models.detector.detect(pictures)
    kept = [keep_objects(d, prompt.tag) for d, prompt in zip(detections, prompts, strict=True)]
    asked = [
        (picture, detection)
        for picture, objects, prompt in zip(pictures, kept, prompts, strict=True)
        for detection in needs_color(objects, prompt)
    ]
    answers = models.colors.classify(asked)
    colors = {id(d): color for (_, d), color in zip(asked, answers, strict=True)}
    evidence = []
    for objects, prompt in zip(kept, prompts, strict=True):
        colored = with_colors(objects, colors)
        shown = [detection for found in colored.values() for detection in found]
        evidence.append(Evidence(judge(colored, prompt), shown))
    return evidence


def self_test(models: GenevalModels, pairs: Sequence[tuple[Prompt, SceneFacts]]) -> SelfTest:
    """Compare the verdicts with the true ones: on each prompt's own scene, and on another's.

    The other scene is the next one that, by its facts, does not fulfil the prompt; one that holds
    all its classes, wrong in colour, number or place, where there is any.
    """
    cases: list[tuple[Prompt, SceneFacts, bool]] = []
    for number, (prompt, own) in enumerate(pairs):
        others = [facts for _, facts in [*pairs[number + 1 :], *pairs[:number]]]
        false = [facts for facts in others if not true_verdict(prompt, facts)]
        near = (facts for facts in false if _classes(prompt) <= {o.name for o in facts.objects})
        wrong = next(near, false[0] if false else None)
        cases += [(prompt, facts, facts is own) for facts in (own, wrong) if facts is not None]
    pictures = [scene_picture(facts) for _, facts, _ in cases]
    evidence = judge_pictures(models, pictures, [prompt for prompt, _, _ in cases])
    test = SelfTest("detector and colour classifier")
    for (prompt, _, expected), found in zip(cases, evidence, strict=True):
        test.add(prompt.tag, expected=expected, answered=found.verdict.correct)
    return test


def _classes(prompt: Prompt) -> set[str]:
    return {wanted.name for wanted in prompt.include}


def true_verdict(prompt: Prompt, facts: SceneFacts) -> bool:
    """Return whether a scene fulfils a prompt, by its facts alone."""
    truth = [Detection(o.name, 1.0, o.box, color=o.color) for o in facts.objects]
    objects = keep_objects(truth, prompt.tag)
    return judge(objects, prompt).correct


class Scored(NamedTuple):
    """Scores and the rows that they are computed from."""

    results: dict[str, Any]
    samples: list[dict[str, Any]]
    classification: dict[str, Any]  # the colours asked for and seen, if any were asked for


def score_folder(
    recipe: Recipe, prompts: Sequence[Prompt], models: GenevalModels, out: Path
) -> Scored:
    """Score `out/images`, which must hold exactly the prompts' pictures.

    Raises:
        EvaluationError: Naming what is missing, superfluous or made for another prompt.
    """
    folder, per_prompt = out / "images", recipe.evaluation.geneval_images_per_prompt
    check_folder(folder, prompts, per_prompt)
    places = [(number, image) for number in range(len(prompts)) for image in range(per_prompt)]
    pictures = [read_png(sample_path(folder, number, image)) for number, image in places]
    evidence = judge_pictures(models, pictures, [prompts[number] for number, _ in places])
    samples = [
        {
            "prompt_index": number,
            "image_index": image,
            "tag": prompts[number].tag,
            "prompt": prompts[number].text,
            "metadata": json.dumps(prompts[number].to_json()),
            "image": sample_path(folder, number, image).relative_to(out).as_posix(),
            "seed": picture_seed(recipe, number, image),
            "state": "correct" if found.verdict.correct else "wrong",
            "reasons": "\n".join(found.verdict.reasons),
            "objects": json.dumps([_shown(detection) for detection in found.objects]),
        }
        for (number, image), found in zip(places, evidence, strict=True)
    ]
    correct = np.array([found.verdict.correct for found in evidence], dtype=np.float64)
    results = summarise(recipe, prompts, correct.reshape(len(prompts), per_prompt))
    return Scored(
        results | {"judges": models.identities},
        samples,
        _color_classification([prompts[number] for number, _ in places], evidence, models),
    )


def _color_classification(
    prompts: Sequence[Prompt], evidence: Sequence[Evidence], models: GenevalModels
) -> dict[str, Any]:
    objects = [by_class(found.objects) for found in evidence]
    colors = colors_asked_and_seen(prompts, objects, models.colors.colors)
    return {"colors": {"confusion": colors._asdict()}} if colors else {}


def summarise(
    recipe: Recipe, prompts: Sequence[Prompt], correct_PI: np.ndarray[Any, np.dtype[np.float64]]
) -> dict[str, Any]:
    """Return the scores from (prompts, images) of 0 and 1; prompts are what is resampled."""
    tags = list(dict.fromkeys(prompt.tag for prompt in prompts))
    per_prompt = correct_PI.mean(axis=1)
    groups = {
        tag: [per_prompt[i] for i, prompt in enumerate(prompts) if prompt.tag == tag]
        for tag in tags
    }
    tasks = {tag: float(np.mean(values)) for tag, values in groups.items()}
    seed = derive_seed(recipe.seed, PROTOCOL, "bootstrap")
    resamples = recipe.evaluation.bootstrap_resamples
    return {
        "protocol": PROTOCOL,
        "version": VERSION,
        "score": float(np.mean(list(tasks.values()))),
        "interval": group_mean_interval(list(groups.values()), resamples, seed),
        "tasks": tasks,
        "task_intervals": {
            tag: group_mean_interval([values], resamples, seed) for tag, values in groups.items()
        },
        "correct_images": float(correct_PI.mean()),
        "correct_prompts": float(correct_PI.any(axis=1).mean()),
        "num_prompts": len(prompts),
        "num_samples": int(correct_PI.size),
        "images_per_prompt": correct_PI.shape[1],
        "settings": generation_settings(recipe),
    }


def _shown(detection: Detection) -> dict[str, Any]:
    return {
        "class": detection.name,
        "score": detection.score,
        "box": detection.box,
        "color": detection.color,
    }
