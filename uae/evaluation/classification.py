"""What a judge said against what is true or was asked for: confusion matrices and ROC curves.

Plain lists of plain numbers, as `results.json` and a pipeline's user interface take them.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from uae.data.geneval import Prompt
from uae.evaluation.geneval.rules import Detection

NOT_FOUND = "not found"
MAX_ROC_POINTS = 101  # each is stored as metadata of an artifact
ALL_YES = -1.0  # a threshold below every probability


class Confusion(NamedTuple):
    """How often what is true (row) was taken for what (column)."""

    categories: list[str]
    matrix: list[list[int]]


class RocCurve(NamedTuple):
    """Shares of "yes" among known noes and known yeses, at falling thresholds: yes above them."""

    false_positive_rate: list[float]
    true_positive_rate: list[float]
    thresholds: list[float]


def colors_asked_and_seen(
    prompts: Sequence[Prompt],
    objects: Sequence[Mapping[str, Sequence[Detection]]],
    colors: Sequence[str],
) -> Confusion | None:
    """Count which colour was asked for, and which one the objects of that class have.

    Args:
        prompts: One for each picture.
        objects: For each picture, class -> detections, most confident first, with their colours.
        colors: All that may be asked for or seen.

    Returns:
        None if no prompt asks for a colour. Where fewer objects were found than asked for, no
        colour was looked at: the column "not found", which is there only where it is needed.
    """
    categories = [*colors, NOT_FOUND]
    place = {name: index for index, name in enumerate(categories)}
    matrix = [[0] * len(categories) for _ in categories]
    for prompt, of_class in zip(prompts, objects, strict=True):
        for wanted in prompt.include:
            if wanted.color is None:
                continue
            found = of_class.get(wanted.name, [])[: wanted.count]
            seen = [detection.color or NOT_FOUND for detection in found]
            for name in seen if len(found) == wanted.count else [NOT_FOUND] * wanted.count:
                matrix[place[wanted.color]][place[name]] += 1
    if not any(map(any, matrix)):
        return None
    if not any(row[-1] for row in matrix):
        return Confusion(categories[:-1], [row[:-1] for row in matrix[:-1]])
    return Confusion(categories, matrix)


def yes_no_confusion(known: Sequence[bool], answered: Sequence[bool]) -> Confusion:
    """Count answers to questions whose answer is known."""
    matrix = [[0, 0], [0, 0]]
    for truth, answer in zip(known, answered, strict=True):
        matrix[not truth][not answer] += 1
    return Confusion(["yes", "no"], matrix)


def roc_curve(known: Sequence[bool], p_yes: Sequence[float]) -> RocCurve | None:
    """Return the curve from (0, 0) to (1, 1); None unless both answers are known to occur.

    A curve with more than MAX_ROC_POINTS points is thinned, ends kept.
    """
    num_yes, num_no = sum(known), len(known) - sum(known)
    if not num_yes or not num_no:
        return None
    thresholds = sorted({1.0, *p_yes}, reverse=True)
    thresholds.append(0.0 if thresholds[-1] > 0 else ALL_YES)
    answers = sorted(zip(p_yes, known, strict=True), reverse=True)
    points, taken, hits = [], 0, 0
    for threshold in thresholds:
        while taken < len(answers) and answers[taken][0] > threshold:
            hits += answers[taken][1]
            taken += 1
        points.append(((taken - hits) / num_no, hits / num_yes, threshold))
    chosen = _spread(len(points), MAX_ROC_POINTS)
    return RocCurve(*([points[index][axis] for index in chosen] for axis in range(3)))


def _spread(count: int, most: int) -> list[int]:
    """Return at most `most` indices below `count`, evenly spread, first and last among them."""
    if count <= most:
        return list(range(count))
    return [round(index * (count - 1) / (most - 1)) for index in range(most)]
