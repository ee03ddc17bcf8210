"""A plan: what every stage of a recipe needs on given GPUs. It can be written as JSON."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, computed_field

from uae.planning.execution import Execution


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


class StagePlan(_Part):
    """One stage, on each of the processes."""

    stage: str
    num_updates: int
    num_trained: int  # parameters
    batches: Batches
    held_bytes: dict[str, int]  # by part, from the first update to the last
    phases: list[PhasePlan]  # of an update
    start: list[PhasePlan]  # of a chunk of samples, before the first update
    start_chunks: int  # of this process
    exchange_seconds: float  # adding up the gradients of an update
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
    def rollouts_per_second(self) -> float:
        """Captions, trajectories or pairs per second, all processes together."""
        return self.batches.rollouts / self.update_seconds

    @computed_field  # type: ignore[prop-decorator]
    @property
    def hours(self) -> float:
        """Of the whole stage: its start, and all updates."""
        start = self.start_chunks * sum(phase.floor_seconds for phase in self.start)
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
