"""GenEval's prompts: what a picture must hold and must not, and how boxes lie to each other.

Boxes are (x0, y0, x1, y1) in pixels, end exclusive, y downwards. The constants are those of the
published script (github.com/djghosh13/geneval, evaluate_images.py); the other rules stand in
`uae.evaluation.geneval.rules`.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

POSITION_MARGIN = 0.1
RELATION_COSINE = 0.5

Task = Literal["single_object", "two_object", "counting", "colors", "position", "color_attr"]
TASKS: tuple[Task, ...] = (
    "single_object",
    "two_object",
    "counting",
    "colors",
    "position",
    "color_attr",
)
RELATIONS = ("left of", "right of", "above", "below")
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Include:
    """At least `count` objects of a class, perhaps of a colour or in relation to another entry."""

    name: str
    count: int
    color: str | None = None
    relation: str | None = None
    target: int | None = None  # index of the entry that `relation` refers to


@dataclass(frozen=True)
class Exclude:
    """Fewer than `count` objects of a class."""

    name: str
    count: int


@dataclass(frozen=True)
class Prompt:
    """A GenEval prompt with what must and must not be in the picture."""

    tag: str
    text: str
    include: tuple[Include, ...]
    exclude: tuple[Exclude, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the official metadata row."""
        include: list[dict[str, Any]] = []
        for wanted in self.include:
            row: dict[str, Any] = {"class": wanted.name, "count": wanted.count}
            if wanted.color is not None:
                row["color"] = wanted.color
            if wanted.relation is not None:
                row["position"] = [wanted.relation, wanted.target]
            include.append(row)
        values: dict[str, Any] = {"tag": self.tag, "include": include}
        if self.exclude:
            values["exclude"] = [{"class": e.name, "count": e.count} for e in self.exclude]
        return values | {"prompt": self.text}


def relative_position(box: Box, target: Box) -> set[str]:
    """Return where `box` lies as seen from `target`; empty when the boxes are too close to say.

    The offset of the centres is shortened by 10 % of both boxes' extent on each axis and divided by
    the length of the unshortened offset; a relation holds beyond +-0.5.
    """
    shortened = []
    offset = []
    for axis in (0, 1):
        delta = (box[axis] + box[axis + 2] - target[axis] - target[axis + 2]) / 2
        extent = abs(box[axis + 2] - box[axis]) + abs(target[axis + 2] - target[axis])
        offset.append(delta)
        shortened.append(math.copysign(max(abs(delta) - POSITION_MARGIN * extent, 0.0), delta))
    if all(abs(part) < 1e-3 for part in shortened):
        return set()
    dx, dy = (part / math.hypot(*offset) for part in shortened)
    holds = {
        "left of": dx < -RELATION_COSINE,
        "right of": dx > RELATION_COSINE,
        "above": dy < -RELATION_COSINE,
        "below": dy > RELATION_COSINE,
    }
    return {relation for relation, true in holds.items() if true}
