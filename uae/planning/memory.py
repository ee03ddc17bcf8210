"""What a stage holds on each GPU from its first update to its last, and in main memory around it.

Of a model that is shared out, the blocks are cut over the processes; embeddings, final layers,
connector and adapters stay whole and float32, as in `uae.training.sharding`.
"""

from __future__ import annotations

from uae.models.bundle import Stage
from uae.planning.execution import Execution
from uae.planning.frozen_phases import pair_bytes
from uae.planning.phase import FLOAT, Load
from uae.planning.stage_models import StageModels
from uae.recipe import TrainedStage

_MOMENTS = 2  # AdamW's; the step's number stays on the CPU
GATHERED_BLOCKS = 2  # of a model that is shared out: the one that computes, and the next


def shared_parts(execution: Execution, models: StageModels) -> set[str]:
    """Return which of encoder and decoder are cut over the processes."""
    if execution.sharding == "replicated":
        return set()
    if execution.sharding == "all":
        return {"encoder", "decoder"}
    return {name.split("/")[0] for name in models.trained} & {"encoder", "decoder"}


def gathered_parts(execution: Execution, models: StageModels, world_size: int) -> set[str]:
    """Return whose blocks FSDP copies together for computing, in `uae.training.sharding`.

    Those that are kept in bfloat16 and whole compute where they are.
    """
    if execution.sharding == "replicated":
        return set()
    shared = shared_parts(execution, models) if world_size > 1 else set()
    lowered = execution.stored == "bfloat16"
    return {
        part
        for part in ("encoder", "decoder")
        if part in shared or part in models.in_full or not lowered
    }


def resident_memory(
    stage: Stage, load: Load, models: StageModels, num_samples: int, world_size: int
) -> dict[str, int]:
    """Return bytes by part, for each process.

    Args:
        stage: Which stage.
        load: The process's part of it.
        models: Its models.
        num_samples: Training samples that the stage's updates see, all processes together.
        world_size: Number of processes.
    """
    section: TrainedStage = getattr(load.recipe, stage)
    execution, shared = load.execution, shared_parts(load.execution, models)
    sizes = {
        part: size - _elsewhere(part, shared, models, world_size)
        for part, size in models.weights.items()
    }
    trained = trained_bytes(models, execution, world_size)
    parts = gathered_parts(execution, models, world_size)
    gathered = max((models.blocks[part].largest for part in parts), default=0)
    return {
        **{f"weights: {part}": size for part, size in sizes.items()},
        "gathered blocks": GATHERED_BLOCKS * gathered,
        "LoRA": FLOAT * (models.num_lora + models.num_frozen_lora),
        "gradients": trained,
        "optimizer": trained * _MOMENTS,
        "EMA": trained if section.optimizer.ema_decay is not None else 0,
        "caches": _caches(stage, load, num_samples, world_size),
    }


def trained_bytes(models: StageModels, execution: Execution, world_size: int) -> int:
    """Return the float32 bytes of what is trained, as far as a process holds it."""
    numbers = models.num_trained
    in_blocks = models.num_trained_in_blocks
    if in_blocks and "decoder" in shared_parts(execution, models):
        numbers -= in_blocks - in_blocks // world_size
    return FLOAT * numbers


def exchanged_bytes(models: StageModels, execution: Execution, world_size: int) -> int:
    """Return the bytes of the gradients that are whole in every process and are added up."""
    if world_size == 1:
        return 0
    numbers = models.num_trained
    if "decoder" in shared_parts(execution, models):
        numbers -= models.num_trained_in_blocks  # their gradients come back in pieces
    return FLOAT * numbers


def checkpoint_bytes(section: TrainedStage, models: StageModels) -> int:
    """Return the bytes of a stage's checkpoint: `uae.training.state`."""
    tensors: int = 1 + _MOMENTS
    tensors += section.optimizer.ema_decay is not None
    tensors += getattr(section, "early_stopping", None) is not None  # the best so far
    return FLOAT * (tensors * models.num_trained + models.num_old_policy)


def loading_bytes(models: StageModels) -> int:
    """Return the main memory that a process needs for weights before the first update.

    Every process reads the whole auto-encoder in float32, and only then lowers blocks, keeps its
    pieces and moves them to its GPU. Not counted: libraries, samples read ahead, the scorer.
    Source: `AutoEncoder.load`, `uae.stages.setting._loaded`.
    """
    return models.loaded_bytes


def finishing_bytes(models: StageModels, execution: Execution) -> int:
    """Return the main memory that the main process needs for weights after the last update.

    It holds the trained auto-encoder; where blocks are kept in bfloat16 it reads the one that the
    stage started from in float32 beside it. Saving copies nothing.
    Source: `Setting.assemble`, `uae.models.precision.take_originals`, `AutoEncoder.save`.
    """
    kept = sum(size for part, size in models.weights.items() if part != "scorer")
    return models.loaded_bytes + (kept if execution.stored == "bfloat16" else 0)


def _elsewhere(part: str, shared: set[str], models: StageModels, world_size: int) -> int:
    """Return the bytes of a part's weights that only other processes hold."""
    if part not in shared:
        return 0
    stored = models.blocks[part].stored
    return stored - stored // world_size


def _caches(stage: Stage, load: Load, num_samples: int, world_size: int) -> int:
    """Bytes of what is kept for every sample that this process's updates see."""
    if load.execution.caches == "streamed":
        return 0
    section: TrainedStage = getattr(load.recipe, stage)
    kept = min(num_samples, section.num_updates * section.batch_size // world_size)
    model = load.works.model
    condition = model.condition_tokens * model.connector.sizes["out_features"] * FLOAT
    if stage == "pretrain_decoder":
        return kept * pair_bytes(load)
    if stage == "understanding_for_generation":
        captions = load.recipe.understanding_for_generation.captions
        books = 1 if captions == "greedy" else captions.group_size
        return kept * books * condition
    return 0
