"""What processes that train one stage together are told, and what they leave.

    task.json           written by the step
    result.json         written by rank 0 when the outputs are complete
    failed-<rank>.json  written by each process that fails
    abandoned.json      written by a TrainJob that no step follows any more
    owner.json, lease.json  of a TrainJob, see `uae.launch.lease`

They lie in a folder of this machine, or below runs/<run_id>/jobs/<stage> in the store.

Processes that are started again take back what they left themselves. So what is found belongs to
the newest try, but for a rank that has not come back since.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from typing import Any, Literal, Protocol

from pydantic import ValidationError

from uae.errors import ResourcesError
from uae.launch.failures import WorkerFailure, final_failure
from uae.recipe import Positive, Strict

TASK, RESULT, FAILED, ABANDONED = "task.json", "result.json", "failed-", "abandoned.json"


class StageTask(Strict):
    """One stage to train. It holds no secret: credentials come from the environment."""

    format: Literal[1] = 1
    uae: str = version("uae")
    stage: str
    recipe: str  # settled, as YAML text
    run: str  # the run's location
    world_size: Positive
    identity: str  # hash of all that decides the result, which comes back with it
    checkpoints: str  # key prefix
    data: str  # a local path, or s3://bucket/prefix
    model_in: str | None  # the same; None starts from the recipe's base weights
    digests: dict[str, str]  # of `data` and `model_in`, where they come from the store
    outputs: dict[str, str]  # by name: local paths, or keys in the store


class StageResult(Strict):
    """What a stage that is trained leaves."""

    format: Literal[1] = 1
    identity: str
    summary: dict[str, float]
    digests: dict[str, str]  # of the outputs that were stored


class Notes(Protocol):
    """Where a task's JSON files lie."""

    def write(self, name: str, value: Any) -> None:
        """Write a file."""

    def read(self, name: str) -> Any:
        """Return a file's value, or None if there is no such file."""

    def names(self) -> list[str]:
        """Return the names of all files, sorted."""

    def remove(self, name: str) -> None:
        """Remove a file if there is one of this name."""


def write_task(notes: Notes, task: StageTask) -> None:
    """Leave a task for those who work on it."""
    notes.write(TASK, task.model_dump())


def read_task(notes: Notes) -> StageTask:
    """Return the task that a step wrote.

    Raises:
        ResourcesError: If there is none, or it was written by another version.
    """
    values = notes.read(TASK)
    writer = values.get("uae") if isinstance(values, dict) else None
    if writer != version("uae"):
        raise ResourcesError(
            f"{TASK} was written by uae {writer}, this is {version('uae')}: the images of the step "
            "and of the processes that train must hold the same version"
        )
    try:
        return StageTask.model_validate(values)
    except ValidationError as error:
        raise ResourcesError(f"{TASK} is not valid: {error}") from error


def write_result(
    notes: Notes, task: StageTask, summary: Mapping[str, Any], digests: dict[str, str]
) -> None:
    """Say that the outputs are complete. Numbers that JSON has no name for are left out."""
    numbers = {
        name: float(value)
        for name, value in summary.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }
    result = StageResult(identity=task.identity, summary=numbers, digests=digests)
    notes.write(RESULT, result.model_dump())


def read_result(notes: Notes, identity: str) -> StageResult | None:
    """Return the result of a task, or None if there is none of this identity."""
    values = notes.read(RESULT)
    if values is None or values.get("identity") != identity:
        return None
    return StageResult.model_validate(values)


def write_failure(notes: Notes, failure: WorkerFailure) -> None:
    """Leave how one process failed."""
    notes.write(_failed(failure.rank), asdict(failure))


def take_back_failure(notes: Notes, rank: int) -> None:
    """Remove how this rank failed in an earlier try."""
    notes.remove(_failed(rank))


def read_failures(notes: Notes) -> list[WorkerFailure]:
    """Return what the processes left that failed."""
    found = [notes.read(name) for name in notes.names() if name.startswith(FAILED)]
    return [WorkerFailure(**values) for values in found if values is not None]


def write_abandoned(notes: Notes, reason: str) -> None:
    """Leave word that the task is to be worked on no more."""
    notes.write(ABANDONED, {"reason": reason})


def read_end(notes: Notes) -> str:
    """Return why no other try of this task helps; empty if one may."""
    abandoned = notes.read(ABANDONED)
    if abandoned is not None:
        return str(abandoned["reason"])
    failure = final_failure(read_failures(notes))
    return f"{failure.type}: {failure.message}" if failure else ""


def _failed(rank: int) -> str:
    return f"{FAILED}{rank}.json"
