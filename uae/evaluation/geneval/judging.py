"""The verdict on pictures: objects, where a rule asks for them their colours, then the rules."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from uae.data.geneval import Prompt
from uae.evaluation.geneval.base import ColorClassifier
from uae.evaluation.geneval.models import GenevalModels, check_vocabulary
from uae.evaluation.geneval.rules import (
    Detection,
    Verdict,
    judge,
    keep_objects,
    needs_color,
    with_colors,
)
from uae.evaluation.pictures import Pixels


class Evidence(NamedTuple):
    """A verdict and the objects it rests on, colours filled in where a rule read them."""

    verdict: Verdict
    objects: list[Detection]


def judge_pictures(
    models: GenevalModels, pictures: Sequence[Pixels], prompts: Sequence[Prompt]
) -> list[Evidence]:
    """Apply the rules to each picture and its prompt; all model calls are batched.

    Raises:
        EvaluationError: If the prompts name classes or colours that the models do not know.
    """
    check_vocabulary(models, prompts)
    return judge_objects(models.colors, pictures, models.detector.detect(pictures), prompts)


def judge_objects(
    colors: ColorClassifier,
    pictures: Sequence[Pixels],
    detections: Sequence[Sequence[Detection]],
    prompts: Sequence[Prompt],
) -> list[Evidence]:
    """Apply the rules to what was detected in each picture; all colours are classified at once."""
    kept = [keep_objects(d, prompt.tag) for d, prompt in zip(detections, prompts, strict=True)]
    asked = [
        (picture, detection)
        for picture, objects, prompt in zip(pictures, kept, prompts, strict=True)
        for detection in needs_color(objects, prompt)
    ]
    answers = colors.classify(asked)
    seen = {id(d): color for (_, d), color in zip(asked, answers, strict=True)}
    evidence = []
    for objects, prompt in zip(kept, prompts, strict=True):
        colored = with_colors(objects, seen)
        shown = [detection for found in colored.values() for detection in found]
        evidence.append(Evidence(judge(colored, prompt), shown))
    return evidence


def object_row(detection: Detection) -> dict[str, Any]:
    """Return an object as samples keep it; the box in pixels."""
    return {
        "class": detection.name,
        "score": detection.score,
        "box": list(detection.box),
        "color": detection.color,
    }


def object_of_row(row: dict[str, Any]) -> Detection:
    """Return what `object_row` kept; the mask is gone."""
    x0, y0, x1, y1 = row["box"]
    return Detection(row["class"], row["score"], (x0, y0, x1, y1), color=row["color"])
