"""Models whose blocks are shared out among the processes: FSDP2, applied directly.

Of every weight of a transformer block a process keeps its piece, in float32, or where the recipe
says so in bfloat16 if the weight is not trained. While a block computes its weights are gathered,
and so they are in the backward pass; gradients of a block's weights come back added up over the
processes, each with its own piece.

What is small stays whole in every process: embeddings, final layers, connector, and the adapters.
So an adapter's gradients, optimizer and average are those of replicated training, and no adapter is
ever part of a gathered block.

Processes must pass through shared-out blocks equally often. Where they do not, as when each writes
captions until its own have ended, the blocks are gathered as a whole for that while.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from uae.models.autoencoder import AutoEncoder
from uae.models.precision import (
    Blocks,
    compute_lowered,
    decoder_blocks,
    encoder_blocks,
    lower,
    vision_blocks,
)
from uae.recipe import Recipe, ShardingRecipe
from uae.training.distribution import World, backend, expect_transfers

TRAINED = {  # the models that a stage trains
    "pretrain_decoder": ("decoder",),
    "cold_start": ("encoder", "decoder"),
    "generation_for_understanding": ("encoder",),
    "understanding_for_generation": ("decoder",),
}


def trained_in_full(stage: str, recipe: Recipe) -> frozenset[str]:
    """Return the models whose own weights a stage trains, and not only adapters on them."""
    is_full = stage == "pretrain_decoder" and recipe.pretrain_decoder.lora is None
    return frozenset({"decoder"} if is_full else ())


def frozen_blocks(model: AutoEncoder, stage: str, recipe: Recipe) -> dict[str, list[nn.Module]]:
    """Return the blocks whose own weights a stage does not train, by model."""
    models = _models(model) | {"vision tower": vision_blocks(model)}
    in_full = trained_in_full(stage, recipe)
    return {name: found.blocks for name, found in models.items() if name not in in_full}


class Shards:
    """The shared-out models of a stage; none where each process holds them whole."""

    def __init__(self, world: World, models: Sequence[Blocks] = ()) -> None:
        self._world = world
        self._models = list(models)
        self._is_gathered = False

    def __bool__(self) -> bool:
        return bool(self._models)

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Let every process hold all blocks whole for a while, without gradients.

        All processes must come to it; within, each computes what it likes.
        """
        if self._is_gathered or not self._models:
            yield
            return
        self._is_gathered = True
        for module in self._fsdp_modules():
            module.unshard()
            module.set_reshard_after_forward(False, recurse=False)
        try:
            yield
        finally:
            self._is_gathered = False
            for module in self._fsdp_modules():
                module.set_reshard_after_forward(True, recurse=False)
                module.reshard()
            for root, _ in self._models:
                _as_fsdp(root).reset_iter_state()  # the passes within differ by process

    def assemble(self, model: AutoEncoder) -> None:
        """Put whole models together in the main process, on the CPU, to be merged and saved.

        The others keep shapes alone. Nothing can be computed with the models after that.
        """
        if not self._models:
            return
        place = torch.device("cpu" if self._world.is_main else "meta")
        for root, blocks in self._models:
            for block in blocks:
                for module in block.modules():
                    _make_whole(module, place)
            for module in (*blocks, root):
                module.__class__ = type(module).__mro__[2]  # before fully_shard
        move(model, place)

    def _fsdp_modules(self) -> list[FSDPModule]:
        return [_as_fsdp(module) for root, blocks in self._models for module in (*blocks, root)]


@contextmanager
def meeting_place(world: World) -> Iterator[None]:
    """Context with a process group, also for a process that trains alone."""
    if distributed.is_initialized():
        yield
        return
    store = distributed.HashStore()  # type: ignore[attr-defined]
    distributed.init_process_group(backend(), store=store, rank=world.rank, world_size=world.size)
    try:
        yield
    finally:
        distributed.destroy_process_group()


def keep_frozen_lowered(model: AutoEncoder, stage: str, recipe: Recipe) -> None:
    """Keep the blocks that the stage does not train in bfloat16, and compute with them so."""
    for blocks in _lowered(model, stage, recipe).values():
        lower(blocks, recipe.seed)
        compute_lowered(blocks)


def shard(
    model: AutoEncoder, stage: str, recipe: Recipe, world: World, device: torch.device
) -> Shards:
    """Share out a model's blocks, in place, and move all of it to the device.

    A frozen model that the recipe replicates is one process's piece, of itself alone: it computes
    in the recipe's type, too. What is kept in bfloat16 and by every process needs no gathering, and
    is left alone.

    Args:
        model: On the CPU, so that no device ever holds it whole.
        stage: Decides which models are trained.
        recipe: How: its `models.sharding` must not be "replicated".
        world: The processes.
        device: Of this process.
    """
    sharding = recipe.models.sharding
    assert sharding != "replicated"
    expect_transfers()
    grid = init_device_mesh(device.type, (world.size, 1), mesh_dim_names=("all", "alone"))
    lowered = _lowered(model, stage, recipe)
    sharded = []
    for name, found in _models(model).items():
        is_shared = name in TRAINED[stage] or sharding.frozen == "sharded"
        if name in lowered and (not is_shared or world.size == 1):
            continue
        lower(lowered.pop(name, ()), recipe.seed)
        _shard(found, grid["all" if is_shared else "alone"], sharding)
        sharded.append(found)
        if name == "encoder":
            found.root.register_forward_hook(_watch_cache, with_kwargs=True)
    for blocks in lowered.values():
        lower(blocks, recipe.seed)
        compute_lowered(blocks)
    move(model, device)
    return Shards(world, sharded)


def move(model: AutoEncoder, device: torch.device) -> None:
    """Move all parts of a model."""
    decoder = model.decoder
    for module in (model.encoder.model, model.connector, decoder.transformer, decoder.vae):
        module.to(device)
    decoder.pooled_D = decoder.pooled_D.to(device)


def local(tensor: Tensor) -> Tensor:
    """Return this process's piece of a tensor: all of it where it is not shared out."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _models(model: AutoEncoder) -> dict[str, Blocks]:
    return {"encoder": encoder_blocks(model), "decoder": decoder_blocks(model)}


def _lowered(model: AutoEncoder, stage: str, recipe: Recipe) -> dict[str, list[nn.Module]]:
    """Return the blocks that are kept in bfloat16, by model."""
    return {} if recipe.models.frozen_dtype == "float32" else frozen_blocks(model, stage, recipe)


def _shard(model: Blocks, mesh: DeviceMesh, recipe: ShardingRecipe) -> None:
    for block in model.blocks:
        fully_shard(
            block,
            mesh=mesh,
            reshard_after_forward=True,
            mp_policy=_precision(recipe, is_last=block is model.blocks[-1]),
            ignored_params=_adapters(block),
        )
        found = _as_fsdp(block)
        found.set_gradient_divide_factor(1.0)  # losses are parts of a sum already
        found.set_force_sum_reduction_for_comms(True)  # gloo knows no other
    inside = {id(p) for block in model.blocks for p in block.parameters()}
    rest = {p for p in model.root.parameters() if id(p) not in inside}
    # The root shares out nothing; it lets its blocks' transfers overlap with computing.
    fully_shard(model.root, mesh=mesh, ignored_params=rest | _adapters(model.root))
    _as_fsdp(model.root)._get_fsdp_state()._lazy_init()  # blocks may be gathered before any pass


def _watch_cache(language_model: nn.Module, _: Any, options: dict[str, Any], __: Any) -> None:
    """Gather the last block also for a gradient that comes by the cache alone.

    FSDP gathers a block when its output's gradient arrives. Of a prompt that is read for its keys
    and values, nobody uses the last output.
    """
    layers = language_model.get_submodule("layers")
    cache, block = options.get("past_key_values"), _as_fsdp(list(layers.children())[-1])
    if cache is None or not torch.is_grad_enabled():
        return
    for cached in (cache.layers[-1].keys, cache.layers[-1].values):
        if cached.requires_grad:
            cached.register_hook(lambda _: block.unshard())


def _precision(recipe: ShardingRecipe, *, is_last: bool) -> MixedPrecisionPolicy:
    if recipe.compute == "float32":
        return MixedPrecisionPolicy()
    return MixedPrecisionPolicy(
        param_dtype=torch.bfloat16,
        reduce_dtype=torch.float32,
        output_dtype=torch.float32 if is_last else None,  # final layers are float32
    )


def _adapters(module: nn.Module) -> set[nn.Parameter]:
    return {p for name, p in module.named_parameters() if ".lora_" in name}


def _make_whole(module: nn.Module, place: torch.device) -> None:
    for name, parameter in list(module.named_parameters(recurse=False)):
        found: Tensor = parameter
        if isinstance(found, DTensor):
            whole = found.full_tensor().detach().to(place)
            module.register_parameter(name, nn.Parameter(whole, requires_grad=False))


def _as_fsdp(module: nn.Module) -> FSDPModule:
    assert isinstance(module, FSDPModule)
    return module
