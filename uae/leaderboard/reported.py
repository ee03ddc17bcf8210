"""Scores that others published: data with their source, never mixed with what was measured."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from uae.errors import EvaluationError
from uae.evaluation.results import Result, Unit
from uae.strict_yaml import read_yaml

REPORTED = Path(__file__).parent / "reported.yaml"
_FACTORS: dict[Unit, float] = {"share": 1.0, "points": 100.0}

Text = Annotated[str, Field(min_length=1)]
Value = Annotated[float, Field(ge=0, le=100)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ReportedScores(_Strict):
    """What was published about one system, in the unit of its set."""

    score: Value | None  # None: only parts were published
    parts: dict[str, Value] = {}  # named as in our results


class ReportedSet(_Strict):
    """One publication's scores under one protocol."""

    benchmark: Text  # as in a result
    protocol: Text
    prompts: Text  # name of the prompt set, as in a result
    num_prompts: Annotated[int, Field(gt=0)]
    unit: Unit  # as published: share is 0 to 1, points are 0 to 100
    judges: Text  # what judged, in the publication's words
    judged_by: dict[str, dict[str, list[Text]]] = Field(min_length=1)  # role -> key -> patterns
    claim: str = ""  # what a measured result beside it only claims, for the reader
    source: Text  # paper and what in it
    systems: dict[str, ReportedScores]

    @model_validator(mode="after")
    def _shares_are_shares(self) -> "ReportedSet":
        values = [
            value
            for scores in self.systems.values()
            for value in (scores.score, *scores.parts.values())
            if value is not None
        ]
        if self.unit == "share" and any(value > 1 for value in values):
            raise ValueError(f"unit is share, but there is {max(values)}: is it in points?")
        return self

    def fits(self, result: Result) -> bool:
        """Return whether these scores may stand beside a result.

        Protocol and prompt set must be the same, and the judges may be: neither a role nor a key
        of an identity in `judged_by` says that they are others.
        """
        asked = (result.benchmark, result.protocol, result.prompts.name, result.prompts.count)
        published = (self.benchmark, self.protocol, self.prompts, self.num_prompts)
        return asked == published and self._may_be_judged_by(result.judges)

    def _may_be_judged_by(self, judges: Mapping[str, Mapping[str, str]]) -> bool:
        return judges.keys() == self.judged_by.keys() and all(
            any(fnmatchcase(judges[role].get(key, ""), pattern) for pattern in patterns)
            for role, keys in self.judged_by.items()
            for key, patterns in keys.items()
        )


class _File(_Strict):
    sets: list[ReportedSet]

    @model_validator(mode="after")
    def _one_row_for_each_system(self) -> "_File":
        seen: set[tuple[str, ...]] = set()
        for one in self.sets:
            for name in one.systems:
                key = (one.benchmark, one.protocol, one.prompts, same_name(name))
                if key in seen:
                    raise ValueError(f"{name} stands twice for {one.benchmark}, {one.prompts}")
                seen.add(key)
        return self


def read_reported(path: Path) -> tuple[ReportedSet, ...]:
    """Read published scores.

    Raises:
        EvaluationError: If a key is missing or unknown, a value is no score of its unit, or a
            system stands twice under one protocol and prompt set.
    """
    try:
        return tuple(_File.model_validate(read_yaml(path.read_text(encoding="utf-8"))).sets)
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise EvaluationError(f"{path} does not hold reported scores: {error}") from error


@cache
def shipped() -> tuple[ReportedSet, ...]:
    """Return the scores that come with this package."""
    return read_reported(REPORTED)


def converted(value: float, given: Unit, wanted: Unit) -> float:
    """Return a score in another unit: 84.74 points are a share of 0.8474."""
    return value * _FACTORS[wanted] / _FACTORS[given]


def same_name(name: str) -> str:
    """Return what two spellings of one system's name have in common."""
    return " ".join(name.casefold().split())


def systems_of(sets: Iterable[ReportedSet]) -> int:
    """Return how many rows the sets have."""
    return sum(len(one.systems) for one in sets)
