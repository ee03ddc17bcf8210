"""What would work in place of what cannot: the nearest number of processes, batch or group."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

from uae.errors import TrainingError
from uae.planning.gpus import GIB
from uae.recipe import TrainedStage

if TYPE_CHECKING:
    from uae.planning.plan import StagePlan
    from uae.planning.planner import StagePlanner

_MORE_PROCESSES = 64  # times as many are tried
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
        for advice, candidate, num_gpus in kind(planner, section):
            size = _memory_of(planner, candidate, num_gpus)
            if size is not None and size <= room:
                fitting.append(f"{advice} ({_gib(size)} GiB)")
                break
        if fitting and kind is not _more_processes:
            return f"{text}; what fits: {' or '.join(fitting)}"
    held = sum(plan.held_bytes.values())
    largest = max(plan.held_bytes, key=lambda part: plan.held_bytes[part])
    return (
        f"{text}: no batch, group or number of processes fits; {_gib(held)} GiB are held all the "
        f"time, most of it {largest}: compute in bfloat16, shard, stream the data, or take a GPU "
        "with more memory"
    )


def _memory_of(planner: StagePlanner, section: TrainedStage, num_gpus: int) -> int | None:
    try:
        return planner.plan(section, num_gpus).memory_bytes
    except TrainingError:  # the batch cannot be shared out
        return None


def _finer_passes(planner: StagePlanner, section: TrainedStage) -> Iterator[Candidate]:
    for steps in _divisors(_minibatch(section), above=section.accumulation_steps):
        for changed in planner.sections(section, accumulation_steps=steps):
            yield f"accumulation_steps {steps}", changed, planner.assumptions.num_gpus


def _more_processes(planner: StagePlanner, section: TrainedStage) -> Iterator[Candidate]:
    size, num_gpus = _minibatch(section), planner.assumptions.num_gpus
    for changed in planner.sections(section, accumulation_steps=size):
        for count in _divisors(size, above=num_gpus):
            if count <= _MORE_PROCESSES * num_gpus:
                yield f"{count} GPUs with accumulation_steps {size}", changed, count


def _smaller_batches(planner: StagePlanner, section: TrainedStage) -> Iterator[Candidate]:
    every = section.num_minibatches * planner.assumptions.num_gpus
    for batch in range(section.batch_size - section.batch_size % every, 0, -every):
        halvings = section.batch_size // batch
        if batch < section.batch_size and halvings & (halvings - 1) == 0:
            steps = batch // section.num_minibatches
            for changed in planner.sections(section, batch_size=batch, accumulation_steps=steps):
                advice = f"batch_size {batch} with accumulation_steps {steps}"
                yield advice, changed, planner.assumptions.num_gpus


def _smaller_groups(planner: StagePlanner, section: TrainedStage) -> Iterator[Candidate]:
    rollout: Any = getattr(section, "rollout", None)
    batch = section.num_minibatches * planner.assumptions.num_gpus
    group = 0 if rollout is None else rollout.group_size // 2
    while group >= 2:
        changes: dict[str, Any] = {
            "rollout": rollout.model_dump(mode="json") | {"group_size": group},
            "batch_size": batch,
            "accumulation_steps": batch // section.num_minibatches,
        }
        for changed in planner.sections(section, **changes):
            advice = f"rollout.group_size {group} with batch_size {batch}"
            yield advice, changed, planner.assumptions.num_gpus
        group //= 2


def _minibatch(section: TrainedStage) -> int:
    return section.batch_size // section.num_minibatches


def _divisors(number: int, *, above: int) -> list[int]:
    return [n for n in range(above + 1, number + 1) if number % n == 0]


def _gib(size: int) -> str:
    return f"{size / GIB:.1f}"
