"""Lets a timeline follow a stage's updates by the calls that it makes, without changing it.

The phases are those of `uae plan`, by the methods that do their work. What a stage computes between
these calls counts to the phase before.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial, wraps
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.timeline import Timeline
from uae.models.autoencoder import AutoEncoder
from uae.models.decoder import Decoder
from uae.models.encoder import Encoder
from uae.rewards.reconstruction import ReconstructionScorer
from uae.training.loop import Run
from uae.training.optimizer import Optimizer

START, BETWEEN = "start", "between updates"
RATIO = "ratio/max_deviation"
READ, TRAIN, STEP = "read pairs", "train", "optimizer step"
_LEAVES = (
    (Encoder, "image_features", "look"),
    (Encoder, "read_prompts", "look"),
    (Encoder, "read_tokens", "write captions"),
    (Encoder, "hidden_states", "read captions"),
    (Decoder, "encode_images", READ),
    (Decoder, "velocity", "draw"),
    (Decoder, "decode_latents", "decode and score"),
    (ReconstructionScorer, "features", "features"),  # of originals; those of drawings: below
)
_READING = ("image_features", "read_prompts", "read_tokens", "hidden_states", "encode_images")


class AllMeasured(Exception):
    """Ends a stage after its last update: weights that are of no use are not saved."""


@dataclass
class Watched:
    """What was seen of a stage."""

    updates: list[dict[str, Any]] = field(default_factory=list)  # but the first, which warms up
    gaps: dict[str, float] = field(default_factory=dict)  # of rollout and training, the largest


@contextmanager
def watching(
    timeline: Timeline, stage: ModuleType, trace: Path | None, num_updates: int
) -> Iterator[Watched]:
    """Watch the stage that runs within; it ends by AllMeasured.

    Args:
        timeline: Notes the phases.
        stage: The stage's module.
        trace: Where torch.profiler's record of the last update goes, .json or .json.gz; None for
            none. What it costs is in that update's times.
        num_updates: Which update is the last.
    """
    watched = Watched()
    with ExitStack() as stack:
        stack.enter_context(_phases_marked(timeline, stage))
        stack.enter_context(_updates_timed(timeline, watched, trace, num_updates))
        yield watched


@contextmanager
def _phases_marked(timeline: Timeline, stage: ModuleType) -> Iterator[None]:
    is_reading_stage = stage.__name__.endswith("pretrain_decoder")
    with ExitStack() as stack:

        def around(
            owner: Any, name: str, scope: Callable[[], AbstractContextManager[None]]
        ) -> None:
            plain = getattr(owner, name)

            @wraps(plain)
            def watched(*arguments: Any, **settings: Any) -> Any:
                with scope():
                    return plain(*arguments, **settings)

            stack.enter_context(mock.patch.object(owner, name, watched))

        for owner, name, phase in _LEAVES:
            if is_reading_stage and name in _READING:  # which may be done pass by pass
                around(owner, name, partial(timeline.enclosing, READ, divides=True))
            else:
                around(owner, name, partial(timeline.going_on, phase))
        around(AutoEncoder, "condition", partial(timeline.enclosing, "read captions"))
        around(ReconstructionScorer, "score", partial(timeline.enclosing, "decode and score"))
        around(Optimizer, "step", partial(timeline.enclosing, STEP, divides=True))
        around(stage, "update_parameters", partial(timeline.enclosing, TRAIN))
        yield


@contextmanager
def _updates_timed(
    timeline: Timeline, watched: Watched, trace: Path | None, num_updates: int
) -> Iterator[None]:
    plain_steps, plain_record = Run.steps, Run.record
    profiler = _profiler() if trace is not None else None

    def steps(run: Run) -> Iterator[int]:
        for step in plain_steps(run):
            if profiler is not None and step == num_updates - 1:
                profiler.start()
            timeline.begin()
            yield step

    def record(run: Run, metrics: Any, *arguments: Any, **settings: Any) -> None:
        phases = timeline.end(BETWEEN)
        if run.next_step > 0:
            watched.updates.append({"seconds": sum(phases.values()), "phases": phases})
        for name, value in metrics.items():
            if name == RATIO or name.startswith("rollout/"):
                watched.gaps[name] = max(value, watched.gaps.get(name, value))
        if profiler is not None and run.next_step == num_updates - 1:
            profiler.stop()
            assert trace is not None
            profiler.export_chrome_trace(str(trace))
            print(_costliest(profiler))
        plain_record(run, metrics, *arguments, **settings)

    def finish(_: Run) -> dict[str, float]:
        raise AllMeasured

    with (
        mock.patch.object(Run, "steps", steps),
        mock.patch.object(Run, "record", record),
        mock.patch.object(Run, "finish", finish),
    ):
        yield


def _profiler() -> Any:
    activities = [ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(ProfilerActivity.CUDA)
    return profile(activities=activities)


def _costliest(profiler: Any) -> str:
    by = "self_device_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
    table: str = profiler.key_averages().table(sort_by=by, row_limit=30)
    return table
