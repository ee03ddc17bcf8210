"""One update of each reinforcement-learning stage: how long, and in which models.

The real stage function runs on the real model and data; only the number of updates is changed,
and held-out measurements are left out.
"""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

from clock import ModelClock, now
from measurement import Measurement

from uae.recipe import Recipe
from uae.stages import generation_for_understanding, understanding_for_generation
from uae.training.loop import Run

_NUM_WARM_UP = 1  # first calls compile and allocate
_AT_LEAST = 80.0


def measure(recipe: Recipe, data: Path, model: Path, num_updates: int) -> Iterator[Measurement]:
    """Profile GfU and UfG."""
    for name, stage in (
        ("GfU update", generation_for_understanding),
        ("UfG update", understanding_for_generation),
    ):
        profile = _profile(stage, recipe, data, model, num_updates)
        total, processor = profile.pop("total"), profile.pop("processor")
        in_models = 100 * sum(profile.values()) / total
        yield Measurement(name, total / num_updates, "s")
        yield Measurement(f"{name}, processor time", processor / num_updates, "s")
        share = f"{name}, in model forward and backward"
        yield Measurement(share, in_models, "%", at_least=_AT_LEAST)
        for part, seconds in profile.most_common():
            yield Measurement(f"{name}, {part}", 100 * seconds / total, "%")


def _profile(
    stage: Any, recipe: Recipe, data: Path, model: Path, num_updates: int
) -> "Counter[str]":
    profile: Counter[str] = Counter()
    clock = ModelClock()
    short = _shortened(recipe, stage.STAGE, num_updates + _NUM_WARM_UP)
    with clock.running(), _updates_watched(clock, profile), TemporaryDirectory() as folder:
        stage.train(short, data, model, Path(folder) / "model")
    return profile


@contextmanager
def _updates_watched(clock: ModelClock, profile: "Counter[str]") -> Iterator[None]:
    """Add what happens between the start of an update and its record to the profile."""
    plain_steps, plain_record = Run.steps, Run.record
    started = started_processor = 0.0

    def steps(run: Run) -> Iterator[int]:
        nonlocal started, started_processor
        for step in plain_steps(run):
            clock.seconds.clear()
            started, started_processor = now(), time.process_time()
            yield step

    def record(run: Run, *arguments: Any, **settings: Any) -> None:
        if run.next_step >= _NUM_WARM_UP:
            profile.update(clock.seconds)
            profile["total"] += now() - started
            profile["processor"] += time.process_time() - started_processor
        plain_record(run, *arguments, **settings)

    with mock.patch.object(Run, "steps", steps), mock.patch.object(Run, "record", record):
        yield


def _shortened(recipe: Recipe, stage: str, num_updates: int) -> Recipe:
    values = recipe.model_dump(mode="json")
    values[stage] |= {
        "num_updates": num_updates,
        "checkpoint_every": num_updates,
        "early_stopping": None,
    }
    return Recipe.model_validate(values)
