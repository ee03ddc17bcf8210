"""The scores that evaluations wrote, read back and checked.

Scores of Unified-Bench are points, 0 to 100. Everything else is a share, 0 to 1.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from uae.errors import DataError, EvaluationError
from uae.evaluation.results import Result, read_result
from uae.recipe import scorer_name

Interval = tuple[float, float]
Scores = TypeVar("Scores", bound=BaseModel)
CAPTION_MEASURES = (
    "caption_words", "attribute_recall", "attribute_precision", "text_fidelity", "repetition",
)  # fmt: skip


class SlotScore(BaseModel):
    """One slot of Unified-Bench: mean cosine x 100 under one image scorer."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    score: float
    scorer: str
    interval: Interval


class UnifiedBenchScores(BaseModel):
    """One model's Unified-Bench result."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    protocol: str
    version: int
    overall: float
    interval: Interval
    slots: dict[str, SlotScore] = Field(min_length=1)
    caption_words: float
    attribute_recall: float | None  # None where the truth is unknown
    attribute_precision: float | None = None  # None also where nothing is stated
    text_fidelity: float | None
    repetition: float
    num_samples: int
    judges: dict[str, Any]  # slot -> identity of its scorer's weights
    prompts: dict[str, Any]  # identity of the pictures
    settings: dict[str, Any]  # of captioning and sampling

    def heldout_slots(self, trained_with: Collection[str]) -> dict[str, SlotScore]:
        """Return the slots whose scorer is none of these names: no loss or reward came from it."""
        return {
            name: slot
            for name, slot in self.slots.items()
            if scorer_name(slot.scorer) not in trained_with
        }


class TaskPrompts(BaseModel):
    """Which prompts a benchmark asked."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    source: str  # "data": the data set's own benchmark split; "starter": the shipped one
    count: int

    @property
    def words(self) -> str:
        """How many there are and where they come from, for a reader."""
        known = {"data": "the data set's own scenes", "starter": "the shipped starter scenes"}
        return f"{self.count} prompts from {known.get(self.source, self.source)}"


class Confusion(BaseModel):
    """How often what is true or was asked for (row) was taken for what (column)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    categories: list[str]
    matrix: list[list[int]]


class Classification(BaseModel):
    """What a result's `classification` holds under one name, but for a curve."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    confusion: Confusion


class TaskScores(BaseModel):
    """A GenEval or DPG-Bench result."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    protocol: str
    version: int
    score: float
    interval: Interval
    tasks: dict[str, float]
    prompts: TaskPrompts
    classification: dict[str, Classification] = Field(default_factory=dict)


def read_unified_bench(folder: Path) -> UnifiedBenchScores:
    """Read `results.json` of Unified-Bench.

    Raises:
        DataError: If it is missing, of another benchmark, samples have no verdict, or a slot has no
            scorer's name.
    """
    result = _read(folder, "unified_bench")
    names = result.settings.get("slots", {})  # as the recipe has them: who gave a reward has a name
    if unnamed := sorted(result.parts.keys() - names.keys()):
        raise DataError(f"{folder}: settings.slots names no scorer of {', '.join(unnamed)}")
    measured = {name: part.score for name, part in result.metrics.items()}
    return _checked(
        folder,
        UnifiedBenchScores,
        protocol=result.protocol,
        version=result.version,
        overall=result.score,
        interval=result.interval,
        slots={
            name: {
                "score": part.score,
                "interval": part.interval,
                "scorer": names[name],
            }
            for name, part in result.parts.items()
        },
        **{name: measured.get(name) for name in CAPTION_MEASURES},
        num_samples=result.num_samples,
        judges=result.judges,
        prompts={"name": result.prompts.name, "sha256": result.prompts.sha256},
        settings={**result.generation, **result.settings},
    )


def read_task_scores(folder: Path) -> TaskScores:
    """Read `results.json` of GenEval or DPG-Bench.

    Raises:
        DataError: If it is missing, or samples have no verdict.
    """
    result = _read(folder)
    return _checked(
        folder,
        TaskScores,
        protocol=result.protocol,
        version=result.version,
        score=result.score,
        interval=result.interval,
        tasks={name: part.score for name, part in result.parts.items()},
        prompts={"source": result.prompts.source, "count": result.prompts.count},
        classification=result.classification,
    )


def _read(folder: Path, benchmark: str | None = None) -> Result:
    try:
        result = read_result(folder)
    except EvaluationError as error:
        raise DataError(str(error)) from error
    if benchmark not in (None, result.benchmark):
        raise DataError(f"{folder} holds results of {result.benchmark}, not of {benchmark}")
    if result.score is None:
        raise DataError(
            f"{folder}: not every sample has a verdict, so there is no score: {result.states}; "
            f"evaluate again"
        )
    return result


def _checked(folder: Path, model: type[Scores], **values: Any) -> Scores:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise DataError(f"{folder} holds no valid {model.__name__}: {error}") from error
