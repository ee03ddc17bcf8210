"""What is trained and what is compared: the whole loop, and the loop with one thing changed."""

from dataclasses import dataclass
from typing import Any

from uae.recipe import LengthGuard, Recipe

STAGE_1 = "pretrain_decoder"
COLD_START = "cold_start"
GFU = "generation_for_understanding"
UFG = "understanding_for_generation"
STAGE_NAMES = {STAGE_1: "Stage 1", COLD_START: "cold start", GFU: "GfU", UFG: "UfG"}
FULL = "full"

# A caption may have 1.01 x the words that the starting model writes on average; one that is a tenth
# longer loses 0.27 of reward (arXiv:2509.09666 reports 0.08 as all that its training gains).
CONSTANT_LENGTH = LengthGuard(weight=3.0, max_ratio=1.01)


@dataclass(frozen=True)
class Arm:
    """A chain of stages, and the length guard of its GfU where that is not the recipe's."""

    what: str
    stages: tuple[str, ...]
    length: LengthGuard | None = None


ARMS = {
    FULL: Arm("the recipe's whole loop", (STAGE_1, COLD_START, GFU, UFG)),
    "no_gfu": Arm("without GfU: UfG starts after the cold start", (STAGE_1, COLD_START, UFG)),
    "no_ufg": Arm("without UfG: ends after GfU", (STAGE_1, COLD_START, GFU)),
    "constant_length": Arm(
        "captions may not grow: in GfU the length guard has weight "
        f"{CONSTANT_LENGTH.weight:g} and max_ratio {CONSTANT_LENGTH.max_ratio:g} of the mean words "
        "that the model writes before GfU; all else as in the recipe",
        (STAGE_1, COLD_START, GFU, UFG),
        CONSTANT_LENGTH,
    ),
}


@dataclass(frozen=True)
class Point:
    """A model: an arm after one of its stages."""

    arm: str
    stage: str

    @property
    def exists(self) -> bool:
        return self.stage in ARMS[self.arm].stages

    def __str__(self) -> str:
        return f"{self.arm}, after {STAGE_NAMES[self.stage]}"


@dataclass(frozen=True)
class Comparison:
    """Two points of equal seed; the difference is `after` minus `before`."""

    name: str
    before: Point
    after: Point


def comparisons(arms: tuple[str, ...]) -> list[Comparison]:
    """Return what is compared: stages of the whole loop, then the whole loop with every arm."""
    found = [
        Comparison("all stages after Stage 1", Point(FULL, STAGE_1), Point(FULL, UFG)),
        Comparison("cold start", Point(FULL, STAGE_1), Point(FULL, COLD_START)),
        Comparison("GfU", Point(FULL, COLD_START), Point(FULL, GFU)),
        Comparison("UfG", Point(FULL, GFU), Point(FULL, UFG)),
    ]
    for arm in arms:
        if arm == FULL:
            continue
        if ARMS[arm].length is not None:
            before, after = Point(arm, COLD_START), Point(arm, GFU)
            found.append(Comparison(f"GfU of {arm}", before, after))
        last = Point(arm, ARMS[arm].stages[-1])
        found.append(Comparison(f"whole loop against {arm}", last, Point(FULL, UFG)))
    return found


def recipe_for(recipe: Recipe, arm: str, seed: int) -> Recipe:
    """Return the recipe that an arm trains with."""
    values: dict[str, Any] = recipe.model_dump(mode="json") | {"seed": seed}
    length = ARMS[arm].length
    if length is not None:
        values[GFU]["rewards"]["length"] = length.model_dump()
    return Recipe.model_validate(values)
