"""What would work in place of what cannot: the nearest number of processes, batch or group."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from uae.planning.gpus import GIB
from uae.recipe import TrainedStage

if TYPE_CHECKING:
    from uae.planning.plan import StagePlan
    from uae.planning.planner import StagePlanner

Candidate: TypeAlias = "tuple[str, TrainedStage, int]"  # what to say, and what to plan


def process_counts(section: TrainedStage, num_gpus: int) -> str:
    """Say which numbers of processes next to this one can share out a stage's batch."""
    size = section.batch_size // section.num_minibatches
    counts = [count for count in range(1, size + 1) if size % count == 0]
    below = [count for count in counts if count < num_gpus][-1:]
    above = [count for count in counts if count > num_gpus][:1]
    return f"{' or '.join(map(str, below + above))} processes can share out this batch"


def nearest_fit(planner: StagePlanner, plan: StagePlan, section: TrainedStage) -> str:
    """Say that a stage does not fit, and what is nearest to it and does."""
    room = planner.assumptions.gpu.usable_bytes
    phase = plan.peak_phase
    text = (
        f"{plan.stage}: needs {_gib(plan.memory_bytes)} GiB on each GPU, and "
        f"{planner.assumptions.gpu.name} has {_gib(room)} for it; most in phase {phase.name!r}"
    )
    kinds = (_finer_passes, _more_processes, _smaller_batches, _smaller_groups)
    fitting = []
    for kind in kinds:
        found = _nearest(planner, kind(planner, section), room)
        fitting += [] if found is None else [found]
        if fitting and kind is not _more_processes:  # which may be more than there are
            return f"{text}; what fits: {' or '.join(fitting)}"
    held = sum(plan.held_bytes.values())
    largest = max(plan.held_bytes, key=lambda part: plan.held_bytes[part])
    return (
        f"{text}: no batch, group or number of processes fits; {_gib(held)} GiB are held all the "
        f"time, most of it {largest}: compute in bfloat16, shard, stream the data, or take a GPU "
        "with more memory"
    )


def _nearest(planner: StagePlanner, candidates: Sequence[Candidate], room: int) -> str | None:
    """Return the first candidate that fits; each needs no more than the one before it."""
    sizes: dict[int, int] = {}

    def fits(place: int) -> bool:
        _, section, num_gpus = candidates[place]
        sizes[place] = planner.plan(section, num_gpus).memory_bytes
        return sizes[place] <= room

    place = bisect_left(range(len(candidates)), True, key=fits)
    if place == len(candidates):
        return None
    return f"{candidates[place][0]} ({_gib(sizes[place])} GiB)"


def _finer_passes(planner: StagePlanner, section: TrainedStage) -> list[Candidate]:
    num_gpus = planner.assumptions.num_gpus
    return [
        (f"accumulation_steps {steps}", _changed(section, accumulation_steps=steps), num_gpus)
        for steps in _divisors(_minibatch(section), above=section.accumulation_steps)
    ]


def _more_processes(planner: StagePlanner, section: TrainedStage) -> list[Candidate]:
    size, num_gpus = _minibatch(section), planner.assumptions.num_gpus
    changed = _changed(section, accumulation_steps=size)
    return [
        (f"{count} GPUs with accumulation_steps {size}", changed, count)
        for count in _divisors(size, above=num_gpus)
    ]


def _smaller_batches(planner: StagePlanner, section: TrainedStage) -> list[Candidate]:
    num_gpus = planner.assumptions.num_gpus
    every = section.num_minibatches * num_gpus
    found = []
    for batch in range(section.batch_size - every, 0, -every):
        steps = batch // section.num_minibatches
        changed = _changed(section, batch_size=batch, accumulation_steps=steps)
        found.append((f"batch_size {batch} with accumulation_steps {steps}", changed, num_gpus))
    return found


def _smaller_groups(planner: StagePlanner, section: TrainedStage) -> list[Candidate]:
    rollout: Any = getattr(section, "rollout", None)
    num_gpus = planner.assumptions.num_gpus
    batch = section.num_minibatches * num_gpus
    found = []
    for group in range(0 if rollout is None else rollout.group_size - 1, 1, -1):
        changed = _changed(
            section,
            rollout=rollout.model_dump(mode="json") | {"group_size": group},
            batch_size=batch,
            accumulation_steps=num_gpus,
        )
        found.append((f"rollout.group_size {group} with batch_size {batch}", changed, num_gpus))
    return found


def _changed(section: TrainedStage, **changes: Any) -> TrainedStage:
    return type(section).model_validate(section.model_dump(mode="json") | changes)


def _minibatch(section: TrainedStage) -> int:
    return section.batch_size // section.num_minibatches


def _divisors(number: int, *, above: int) -> list[int]:
    return [n for n in range(above + 1, number + 1) if number % n == 0]


def _gib(size: int) -> str:
    return f"{size / GIB:.1f}"
