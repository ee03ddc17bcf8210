"""From a recipe and GPUs to a plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from uae.errors import TrainingError
from uae.models.bundle import Stage
from uae.planning.alternatives import nearest_fit, process_counts
from uae.planning.configs import find_configs
from uae.planning.execution import Execution, execution_of
from uae.planning.gpus import NETWORK_BYTES_PER_SECOND, Gpu
from uae.planning.memory import (
    checkpoint_bytes,
    exchanged_bytes,
    finishing_bytes,
    gathered_parts,
    loading_bytes,
    resident_memory,
    shared_parts,
    trained_bytes,
)
from uae.planning.phase import Load, Phase
from uae.planning.phases import update_phases
from uae.planning.plan import Batches, PhasePlan, Plan, StagePlan
from uae.planning.stage_models import StageModels, build_stage_models
from uae.planning.start_phases import start_phases
from uae.planning.trace import NOTHING
from uae.planning.works import Works
from uae.recipe import DiffusionNftRecipe, Recipe, TrainedStage, UnderstandingForGenerationRecipe
from uae.training.distribution import World
from uae.training.share import Share

STAGES: tuple[Stage, ...] = tuple(name for name in get_args(Stage) if name != "base")


@dataclass(frozen=True)
class Assumptions:
    """What a plan takes for granted beside the recipe."""

    gpu: Gpu
    nodes: int
    gpus_per_node: int
    fraction: float = 0.4  # of the GPU's rates that is reached
    execution: Execution | None = None  # None: that of `execution_of`
    condition_tokens: int | None = None  # None: the recipe's, or the bundle's
    caption_tokens: int | None = None  # mean length; None: every caption is the longest allowed
    num_samples: int | None = None  # of the training split; None: every update sees new ones
    price_per_gpu_hour: float | None = None

    @property
    def num_gpus(self) -> int:
        """Processes."""
        return self.nodes * self.gpus_per_node


def make_plan(recipe: Recipe, assumptions: Assumptions) -> Plan:
    """Plan every stage of a recipe that has updates.

    Raises:
        ModelError: If a model's configuration is missing.
    """
    configs = find_configs(recipe.models.base)
    execution = assumptions.execution or execution_of(recipe)
    tokens = (
        assumptions.condition_tokens
        or recipe.models.condition_tokens
        or configs.info.condition_tokens
    )
    stages, refusals = [], []
    for stage in STAGES:
        section: TrainedStage = getattr(recipe, stage)
        if section.num_updates == 0:
            continue
        try:
            _share(stage, section, assumptions.num_gpus)
        except TrainingError as error:
            refusals.append(f"{error}: {process_counts(section, assumptions.num_gpus)}")
            continue
        models = build_stage_models(stage, recipe, configs, execution, tokens)
        planner = StagePlanner(stage, recipe, models, execution, assumptions)
        planned = planner.plan(section, assumptions.num_gpus)
        stages.append(planned)
        if planned.memory_bytes > assumptions.gpu.usable_bytes:
            refusals.append(nearest_fit(planner, planned, section))
    return Plan(
        recipe=recipe.name,
        gpu=assumptions.gpu.name,
        gpu_bytes=assumptions.gpu.usable_bytes,
        nodes=assumptions.nodes,
        gpus_per_node=assumptions.gpus_per_node,
        condition_tokens=tokens,
        execution=execution,
        fraction=assumptions.fraction,
        price_per_gpu_hour=assumptions.price_per_gpu_hour,
        stages=stages,
        refusals=refusals,
    )


class StagePlanner:
    """Plans one stage for any batch and number of processes; what was traced is traced once."""

    def __init__(
        self,
        stage: Stage,
        recipe: Recipe,
        models: StageModels,
        execution: Execution,
        assumptions: Assumptions,
    ) -> None:
        self.stage, self.assumptions, self.execution = stage, assumptions, execution
        self._recipe, self._models, self._works = recipe, models, Works(models)
        self._shared = shared_parts(execution, models)

    def plan(self, section: TrainedStage, num_gpus: int) -> StagePlan:
        """Plan the stage with another section in the recipe's place.

        Raises:
            TrainingError: If the batch cannot be shared out.
        """
        share = _share(self.stage, section, num_gpus)
        recipe = self._recipe.model_copy(update={self.stage: section})
        load = Load(recipe, share, self._works, self.execution, self.assumptions.caption_tokens)
        seen = section.num_updates * section.batch_size
        samples = min(self.assumptions.num_samples or seen, seen)
        held = resident_memory(self.stage, load, self._models, samples, num_gpus)
        buffer = exchanged_bytes(self._models, self.execution, num_gpus)
        stepping = trained_bytes(self._models, self.execution, num_gpus)
        step = Phase("optimizer step", NOTHING, {"optimizer's temporaries": stepping + buffer})
        return StagePlan(
            stage=self.stage,
            num_updates=section.num_updates,
            num_trained=self._models.num_trained,
            batches=_batches(load, section),
            held_bytes=held,
            phases=[self._timed(p, num_gpus) for p in [*update_phases(self.stage, load), step]],
            start=[self._timed(p, num_gpus) for p in start_phases(self.stage, load, samples)],
            exchange_seconds=self._exchange_seconds(buffer, num_gpus) * section.num_minibatches,
            checkpoint_bytes=checkpoint_bytes(section, self._models),
            loading_bytes=loading_bytes(self._models),
            finishing_bytes=finishing_bytes(self._models, self.execution),
            fraction=self.assumptions.fraction,
        )

    def _timed(self, phase: Phase, num_gpus: int) -> PhasePlan:
        gpu, cost = self.assumptions.gpu, phase.cost
        # Around blocks in bfloat16 products of float32 numbers are made in TF32.
        is_rounded = self.execution.dtype == "bfloat16"
        rate = gpu.tf32_flops if is_rounded else gpu.float32_flops
        computing = cost.float32_flops / rate
        computing += (cost.flops - cost.float32_flops) / gpu.bfloat16_flops
        reading = phase.bytes_read / gpu.memory_bytes_per_second
        exchanged = self._received(phase, num_gpus)
        exchanging = exchanged / self._link()
        memory = {"activations": cost.peak_bytes, **phase.held}
        if phase.is_whole:
            parts = gathered_parts(self.execution, self._models, num_gpus)
            memory["gathered models"] = sum(self._models.blocks[p].computing for p in parts)
        return PhasePlan(
            name=phase.name,
            flops=cost.flops,
            float32_flops=cost.float32_flops,
            bytes_read=phase.bytes_read,
            exchanged_bytes=exchanged,
            memory_bytes={part: size for part, size in memory.items() if size},
            floor_seconds=max(computing, reading, exchanging),
            is_memory_bound=reading > max(computing, exchanging),
            is_exchange_bound=exchanging > max(computing, reading),
        )

    def _received(self, phase: Phase, num_gpus: int) -> int:
        """Bytes of weights that a phase receives from the other processes."""
        passes = {"decoder": phase.decoder_passes, "encoder": phase.encoder_passes}
        times = {part: count + phase.num_gatherings for part, count in passes.items()}
        total = sum(times[part] * self._models.blocks[part].computing for part in self._shared)
        return total * (num_gpus - 1) // num_gpus

    def _exchange_seconds(self, gradient_bytes: int, num_gpus: int) -> float:
        """Adding up over a ring: every process sends and receives nearly twice the buffer."""
        return 2 * (num_gpus - 1) / num_gpus * gradient_bytes / self._link()

    def _link(self) -> float:
        gpu = self.assumptions.gpu
        if self.assumptions.nodes == 1:
            return gpu.link_bytes_per_second
        return min(NETWORK_BYTES_PER_SECOND, gpu.link_bytes_per_second)


def _share(stage: Stage, section: TrainedStage, num_gpus: int) -> Share:
    return Share(stage, section, World(0, num_gpus))


def _batches(load: Load, section: TrainedStage) -> Batches:
    rollout = getattr(section, "rollout", None)
    return Batches(
        samples=section.batch_size,
        group_size=1 if rollout is None else rollout.group_size,
        optimizer_steps=section.num_minibatches,
        samples_per_process=load.num_pictures,
        samples_per_pass=load.part_size,
        passes_per_process=load.num_passes,
        losses_per_pass=_losses_per_pass(section),
    )


def _losses_per_pass(section: TrainedStage) -> int:
    if not isinstance(section, UnderstandingForGenerationRecipe):
        return 1
    if isinstance(section.objective, DiffusionNftRecipe):
        return section.objective.num_times
    return section.rollout.window_size
