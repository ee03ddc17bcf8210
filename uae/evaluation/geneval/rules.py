"""GenEval's rules as pure functions on detections: no model, no picture.

Boxes are (x0, y0, x1, y1) in pixels, end exclusive, y downwards. The constants and the order of the
checks are those of the published script (github.com/djghosh13/geneval, evaluate_images.py, commit
16f1681), with its non-maximum suppression at the published setting, off.

Verdicts differ nowhere. What differs: reasons are worded a little otherwise; of two objects with
the same score the script takes either first, this module the one that was detected first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from uae.data.geneval import Box, Include, Prompt, relative_position

SCORE_THRESHOLD = 0.3
COUNTING_THRESHOLD = 0.9
MAX_OBJECTS_PER_CLASS = 16


@dataclass(frozen=True)
class Detection:
    """One object that a detector reports. `color` stays None until a rule asks for it."""

    name: str
    score: float
    box: Box
    mask: NDArray[np.bool_] | None = None  # (H, W)
    color: str | None = None


class Verdict(NamedTuple):
    """Whether a picture fulfils its prompt, and every reason why not."""

    correct: bool
    reasons: list[str]


Objects = Mapping[str, Sequence[Detection]]  # class -> detections, most confident first


def mask_box(mask: NDArray[np.bool_]) -> Box:
    """Return the tightest box around a mask (H, W) that is not empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def keep_objects(detections: Sequence[Detection], task: str) -> dict[str, list[Detection]]:
    """Keep what is more confident than the task's threshold, at most 16 of each class.

    The comparison is strict and in single precision, as in the published script: a score at the
    threshold is dropped.
    """
    threshold = np.float32(COUNTING_THRESHOLD if task == "counting" else SCORE_THRESHOLD)
    kept: dict[str, list[Detection]] = {}
    for detection in sorted(detections, key=lambda d: -d.score):
        of_class = kept.setdefault(detection.name, [])
        if np.float32(detection.score) > threshold and len(of_class) < MAX_OBJECTS_PER_CLASS:
            of_class.append(detection)
    return {name: found for name, found in kept.items() if found}


def by_class(detections: Sequence[Detection]) -> dict[str, list[Detection]]:
    """Return class -> detections, in their order."""
    found: dict[str, list[Detection]] = {}
    for detection in detections:
        found.setdefault(detection.name, []).append(detection)
    return found


def needs_color(objects: Objects, prompt: Prompt) -> list[Detection]:
    """Return the detections whose colour the prompt's rules will read, in a fixed order."""
    needed: dict[int, Detection] = {}
    for wanted in prompt.include:
        found = objects.get(wanted.name, [])[: wanted.count]
        if wanted.color is not None and len(found) == wanted.count:
            needed.update((id(detection), detection) for detection in found)
    return list(needed.values())


def with_colors(objects: Objects, colors: Mapping[int, str]) -> dict[str, list[Detection]]:
    """Return the objects with colours filled in; `colors` is keyed by the detection's `id()`."""
    return {
        name: [replace(d, color=colors.get(id(d), d.color)) for d in found]
        for name, found in objects.items()
    }


def judge(objects: Objects, prompt: Prompt) -> Verdict:
    """Apply the include rules (all must hold), then the exclude rules (none may be broken).

    `objects` are the kept detections, colours filled in for those of `needs_color`.
    """
    reasons: list[str] = []
    matched: list[Sequence[Detection] | None] = []
    for wanted in prompt.include:
        found = objects.get(wanted.name, [])[: wanted.count]
        fault = _include_fault(found, wanted, matched)
        matched.append(found if fault is None else None)
        if fault is not None:
            reasons.append(fault)
    for unwanted in prompt.exclude:
        number = len(objects.get(unwanted.name, []))
        if number >= unwanted.count:
            reasons.append(f"expected {unwanted.name}<{unwanted.count}, found {number}")
    return Verdict(not reasons, reasons)


def _include_fault(
    found: Sequence[Detection], wanted: Include, matched: Sequence[Sequence[Detection] | None]
) -> str | None:
    if len(found) < wanted.count:
        return f"expected {wanted.name}>={wanted.count}, found {len(found)}"
    if wanted.color is not None:
        colors = [detection.color for detection in found]
        if None in colors:
            raise ValueError(f"no colour was classified for {wanted.name}; fill in needs_color()")
        if colors.count(wanted.color) < wanted.count:
            shown = ", ".join(str(color) for color in colors)
            return f"expected {wanted.color} {wanted.name}>={wanted.count}, found {shown}"
    if wanted.relation is not None and wanted.target is not None:
        return _position_fault(found, wanted, matched[wanted.target])
    return None


def _position_fault(
    found: Sequence[Detection], wanted: Include, targets: Sequence[Detection] | None
) -> str | None:
    if targets is None:
        return f"no target for {wanted.name} to be {wanted.relation}"
    for detection in found:
        for target in targets:
            relations = relative_position(detection.box, target.box)
            if wanted.relation not in relations:
                shown = " and ".join(sorted(relations)) or "no relation to"
                return f"expected {wanted.name} {wanted.relation} target, found {shown} target"
    return None
