"""What a run left behind, finished or failed: records, recipe and the artifacts' small files.

A run folder mirrors the store's prefix `runs/<run_id>/`:

    run.json                       run_id, recipe_name, status, times, data source, environment
    recipe.yaml
    steps/**/<step>.json           one record for each step that started
    artifacts/<step>/<name>/...    files are found by name below the step's folder

Nothing but `run.json` has to exist: a run that failed early leaves little.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from uae.errors import DataError
from uae.recipe import Recipe
from uae.recipe_files import parse_recipe
from uae.records import StepRecord

TRAINED_STAGES = (
    "pretrain_decoder",
    "cold_start",
    "generation_for_understanding",
    "understanding_for_generation",
)
BENCH_STEPS = tuple(f"evaluate_unified_bench/{stage}" for stage in TRAINED_STAGES)
KNOWN_STEPS = (
    "start_run",
    "validate_data",
    *(step for pair in zip(TRAINED_STAGES, BENCH_STEPS, strict=True) for step in pair),
    "evaluate_geneval",
    "evaluate_dpg_bench",
    "gate",
    "export_model",
)


@dataclass(frozen=True)
class RunFolder:
    """Read access to one run's folder."""

    path: Path

    @cached_property
    def info(self) -> dict[str, Any]:
        """The content of `run.json`.

        Raises:
            DataError: If it is missing or not JSON.
        """
        path = self.path / "run.json"
        try:
            values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise DataError(f"{self.path} is not a run folder: it has no run.json") from error
        except json.JSONDecodeError as error:
            raise DataError(f"{path} is not valid JSON: {error}") from error
        return values

    @cached_property
    def recipe_text(self) -> str | None:
        """The recipe as YAML, if the run came far enough to write it."""
        path = self.path / "recipe.yaml"
        return path.read_text(encoding="utf-8") if path.is_file() else None

    @cached_property
    def recipe(self) -> Recipe | None:
        """The recipe, if the run came far enough to write it.

        Raises:
            RecipeError: If it is not valid.
        """
        return parse_recipe(self.recipe_text, source="recipe.yaml") if self.recipe_text else None

    @cached_property
    def records(self) -> dict[str, StepRecord]:
        """The records of all steps that started, in order of their start."""
        paths = sorted((self.path / "steps").rglob("*.json"))
        found = [StepRecord(**json.loads(path.read_text(encoding="utf-8"))) for path in paths]
        found.sort(key=lambda record: record.started_at)
        return {record.step: record for record in found}

    @property
    def steps(self) -> list[str]:
        """Every known step in the graph's order, then any other that started."""
        return [*KNOWN_STEPS, *(step for step in self.records if step not in KNOWN_STEPS)]

    @property
    def failed(self) -> list[StepRecord]:
        """Steps that failed, in order of their start."""
        return [record for record in self.records.values() if record.status == "failed"]

    def file(self, step: str, name: str) -> Path | None:
        """Return the one file of this name among a step's artifacts, None if there is none.

        Raises:
            DataError: If there is more than one.
        """
        found = sorted((self.path / "artifacts" / step).rglob(name))
        if len(found) > 1:
            raise DataError(f"{step} left {len(found)} files named {name}: {found[0]}, {found[1]}")
        return found[0] if found else None
