"""A plan: what every stage of a recipe needs on given GPUs. It can be written as JSON."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, computed_field

from uae.planning.execution import Execution
from uae.planning.gpus import STORE_BYTES_PER_SECOND
from uae.planning.phase import TRAIN


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Batches(_Part):
    """How an update's samples are shared out."""

    samples: int  # of an update, all processes together
    group_size: int  # captions or trajectories of each sample; 1 without rollouts
    optimizer_steps: int
    samples_per_process: int
    samples_per_pass: int
    passes_per_process: int
    losses_per_pass: int  # each with a backward pass of its own: steps of a window, or times

    @computed_field  # type: ignore[prop-decorator]
    @property
    def rollouts(self) -> int:
        """Captions or trajectories of an update; samples where there are no rollouts."""
        return self.samples * self.group_size


class PhasePlan(_Part):
    """A part of an update, on one GPU."""

    name: str
    flops: int
    float32_flops: int  # of them, in float32: adapters, VAE, and what stands around blocks
    bytes_read: int  # where it is above 0 the phase may be bound by memory
    exchanged_bytes: int
    memory_bytes: dict[str, int]  # beside what the stage holds all the time
    floor_seconds: float
    is_memory_bound: bool
    is_exchange_bound: bool


class StagePlan(_Part):
    """One stage, on each of the processes."""

    stage: str
    num_updates: int
    num_trained: int  # parameters
    batches: Batches
    held_bytes: dict[str, int]  # by part, from the first update to the last
    phases: list[PhasePlan]  # of an update
    start: list[PhasePlan]  # before the first update
    exchange_seconds: float  # adding up the gradients of an update
    checkpoint_bytes: int  # of all processes together
    loading_bytes: int  # of main memory, in each process, before the first update
    finishing_bytes: int  # of main memory, in the main process, after the last update
    fraction: float  # of the GPU's rates that is expected

    @property
    def peak_phase(self) -> PhasePlan:
        """The phase that needs most memory."""
        return max([*self.phases, *self.start], key=lambda phase: sum(phase.memory_bytes.values()))

    @computed_field  # type: ignore[prop-decorator]
    @property
    def memory_bytes(self) -> int:
        """The most that a GPU holds."""
        return sum(self.held_bytes.values()) + sum(self.peak_phase.memory_bytes.values())

    @computed_field  # type: ignore[prop-decorator]
    @property
    def update_flops(self) -> int:
        """Of one GPU in an update."""
        return sum(phase.flops for phase in self.phases)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def update_floor_seconds(self) -> float:
        """What an update takes at the GPU's full rates."""
        return sum(phase.floor_seconds for phase in self.phases) + self.exchange_seconds

    @computed_field  # type: ignore[prop-decorator]
    @property
    def update_seconds(self) -> float:
        """What an update is expected to take."""
        return self.update_floor_seconds / self.fraction

    @computed_field  # type: ignore[prop-decorator]
    @property
    def longest_wait_seconds(self) -> float:
        """How long SIGTERM may wait for the end of training, held-out measurements aside.

        Until the first optimizer step of an update it is obeyed between its rollout and its
        training, and after every backward pass; then the update is finished. A checkpoint follows,
        written at STORE_BYTES_PER_SECOND. Source: `uae.training.update`, `uae.training.loop`.
        """
        names = [phase.name for phase in self.phases]
        before, training = self.phases[: names.index(TRAIN)], self.phases[names.index(TRAIN)]
        batches, seconds = self.batches, training.floor_seconds
        later = (batches.optimizer_steps - 1) / batches.optimizer_steps
        longest = max(
            sum(phase.floor_seconds for phase in before),
            seconds / batches.passes_per_process / batches.losses_per_pass,
            seconds * later + self.exchange_seconds,
        )
        return longest / self.fraction + self.checkpoint_bytes / STORE_BYTES_PER_SECOND

    @computed_field  # type: ignore[prop-decorator]
    @property
    def rollouts_per_second(self) -> float:
        """Captions, trajectories or pairs per second, all processes together."""
        return self.batches.rollouts / self.update_seconds

    @computed_field  # type: ignore[prop-decorator]
    @property
    def hours(self) -> float:
        """Of the whole stage: its start, and all updates."""
        start = sum(phase.floor_seconds for phase in self.start)
        return (start / self.fraction + self.num_updates * self.update_seconds) / 3600


class Plan(_Part):
    """All trained stages of a recipe, on given GPUs."""

    recipe: str
    gpu: str
    gpu_bytes: int  # usable
    nodes: int
    gpus_per_node: int
    condition_tokens: int
    execution: Execution
    fraction: float
    price_per_gpu_hour: float | None
    stages: list[StagePlan]
    refusals: list[str]  # what cannot work, each with the nearest thing that can

    @computed_field  # type: ignore[prop-decorator]
    @property
    def num_gpus(self) -> int:
        """Processes, one for each GPU."""
        return self.nodes * self.gpus_per_node

    @property
    def loading(self) -> list[int]:
        """Main memory of a node by stage, while all its processes load."""
        return [stage.loading_bytes * self.gpus_per_node for stage in self.stages]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def hours(self) -> float:
        """Of all stages that could be planned, without evaluation."""
        return sum(stage.hours for stage in self.stages)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def cost(self) -> float | None:
        """What these hours cost, in the price's currency."""
        if self.price_per_gpu_hour is None:
            return None
        return self.hours * self.num_gpus * self.price_per_gpu_hour
