"""The models of one stage on the meta device, with the adapters that it trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from uae.models.autoencoder import AutoEncoder
from uae.models.bundle import Stage
from uae.models.lora import LoraHost
from uae.models.precision import compute_lowered, decoder_blocks, encoder_blocks, lower
from uae.models.recomputation import recompute_blocks
from uae.planning.configs import ModelConfigs
from uae.planning.execution import Execution
from uae.planning.meta_models import build_autoencoder, build_scorer, size_in_bytes
from uae.recipe import DiffusionNftRecipe, LoraRecipe, Recipe, TrainedStage
from uae.rewards.reconstruction import ReconstructionScorer
from uae.training.sharding import frozen_blocks, trained_in_full

_FLOAT = 4
_TRAINED = "trained"
_WRITER = "caption adapter"
_OLD = "old policy"


@dataclass(frozen=True)
class BlockSizes:
    """Bytes of a model's repeated blocks: what can be shared out."""

    stored: int
    computing: int  # in the type in which they compute, gathered as a whole
    largest: int  # one of them, in this type


@dataclass(frozen=True)
class StageModels:
    """What a stage holds: frozen parts, and what it trains."""

    model: AutoEncoder
    scorer: ReconstructionScorer | None
    weights: Mapping[str, int]  # bytes of each part without adapters, as they are kept
    loaded_bytes: int  # of the auto-encoder without adapters, as it is read: float32
    blocks: Mapping[str, BlockSizes]  # of encoder and decoder
    in_full: frozenset[str]  # models whose own weights are trained
    trained: Mapping[str, nn.Parameter]
    num_lora: int  # trained parameters that are adapters'
    num_frozen_lora: int  # of adapters that are only used
    num_old_policy: int  # of these, which updates change
    num_trained_in_blocks: int  # of the decoder's blocks, trained as they are

    @property
    def num_trained(self) -> int:
        """How many numbers the optimizer moves."""
        return sum(p.numel() for p in self.trained.values())

    @property
    def latents(self) -> tuple[int, int, int]:
        """Channels, height and width of a picture's latents."""
        return self.model.decoder.latent_shape(self.model.image_size)

    def score(self, images_BCHW: Tensor) -> Tensor:
        """Return features, without the look at their numbers that the real scorer takes."""
        if self.scorer is None:
            raise ValueError("this stage has no scorer")
        dtype = next(self.scorer.encoder.parameters()).dtype
        features: Tensor = self.scorer.encoder(self.scorer.preprocess(images_BCHW).to(dtype))
        return features.float()


def build_stage_models(
    stage: Stage,
    recipe: Recipe,
    configs: ModelConfigs,
    execution: Execution,
    condition_tokens: int,
) -> StageModels:
    """Build a stage's models, and make trainable what it trains.

    Raises:
        ModelError: If a configuration is missing, or the parts do not fit each other.
    """
    model = build_autoencoder(
        configs, image_size=recipe.data.image_size, condition_tokens=condition_tokens
    )
    section: TrainedStage = getattr(recipe, stage)
    scorer = None
    if section.scorer_used is not None:
        scorer = build_scorer(configs, section.scorer_used, getattr(torch, execution.scorer))
    loaded = sum(_weights(model).values())
    in_full, found = trained_in_full(stage, recipe), _blocks(model)
    frozen = frozen_blocks(model, stage, recipe)
    if execution.stored == "bfloat16":
        for blocks in frozen.values():
            lower(blocks)
    weights = _weights(model) | {"scorer": 0 if scorer is None else size_in_bytes(scorer)}
    stored = {name: _sizes(blocks) for name, blocks in found.items()}
    for blocks in _lowered(execution, found, frozen).values():
        lower(blocks)
        compute_lowered(blocks)
    if execution.recompute_blocks:
        recompute_blocks(model)
    sizes = {
        name: BlockSizes(sum(stored[name]), sum(_sizes(blocks)), max(_sizes(blocks)))
        for name, blocks in found.items()
    }
    num_frozen, num_old = _add_frozen_adapters(stage, recipe, model)
    trained, num_lora = _make_trainable(stage, recipe, model)
    for parameter in trained.values():  # added to, as after a pass
        parameter.grad = torch.zeros_like(parameter)
    num_in_blocks = sizes["decoder"].stored // _FLOAT if "decoder" in in_full else 0
    return StageModels(
        model,
        scorer,
        weights,
        loaded,
        sizes,
        in_full,
        trained,
        num_lora,
        num_frozen,
        num_old,
        num_in_blocks,
    )


def _weights(model: AutoEncoder) -> dict[str, int]:
    return {
        "encoder": size_in_bytes(model.encoder.model),
        "connector": size_in_bytes(model.connector),
        "decoder": size_in_bytes(model.decoder.transformer),
        "VAE": size_in_bytes(model.decoder.vae),
    }


def _make_trainable(
    stage: Stage, recipe: Recipe, model: AutoEncoder
) -> tuple[dict[str, nn.Parameter], int]:
    """Add the stage's adapters; return what it trains, and how much of it is adapters."""
    trained: dict[str, nn.Parameter] = {}
    if stage in ("pretrain_decoder", "cold_start"):
        connector = model.connector.requires_grad_(True).named_parameters()
        trained |= {f"connector/{name}": p for name, p in connector}
    num_others = sum(p.numel() for p in trained.values())
    hosts: list[tuple[str, LoraHost, LoraRecipe]] = []
    if stage == "pretrain_decoder":
        if recipe.pretrain_decoder.lora is not None:
            hosts.append(("decoder", model.decoder, recipe.pretrain_decoder.lora))
        else:
            whole = model.decoder.transformer.requires_grad_(True).named_parameters()
            trained |= {f"decoder/{name}": p for name, p in whole}
            num_others = sum(p.numel() for p in trained.values())
    elif stage == "cold_start":
        hosts.append(("encoder", model.encoder, recipe.cold_start.encoder_lora))
        hosts.append(("decoder", model.decoder, recipe.cold_start.decoder_lora))
    elif stage == "generation_for_understanding":
        hosts.append(("encoder", model.encoder, recipe.generation_for_understanding.lora))
        if recipe.generation_for_understanding.condition_adapter == "stage_start":
            model.caption_adapters.append(_TRAINED)
    else:
        hosts.append(("decoder", model.decoder, recipe.understanding_for_generation.lora))
    for part, host, lora in hosts:
        host.add_lora(_TRAINED, lora, seed=0)
        trained |= {f"{part}/{n}": p for n, p in host.lora_parameters(_TRAINED).items()}
    return trained, sum(p.numel() for p in trained.values()) - num_others


def _add_frozen_adapters(stage: Stage, recipe: Recipe, model: AutoEncoder) -> tuple[int, int]:
    """Add adapters that are used and not trained; count their numbers, and the old policy's."""
    if stage != "understanding_for_generation":
        return 0, 0
    num, num_old = 0, 0
    understanding = recipe.generation_for_understanding
    if understanding.condition_adapter == "stage_start" and understanding.num_updates > 0:
        model.encoder.add_lora(_WRITER, understanding.lora, seed=0)
        model.caption_adapters.append(_WRITER)
        for parameter in model.encoder.lora_parameters(_WRITER).values():
            parameter.requires_grad_(False)
            num += parameter.numel()
    section = recipe.understanding_for_generation
    if isinstance(section.objective, DiffusionNftRecipe):
        model.decoder.add_lora(_OLD, section.lora, seed=0, active=False)
        for parameter in model.decoder.lora_parameters(_OLD).values():
            parameter.requires_grad_(False)
            num_old += parameter.numel()
    return num + num_old, num_old


def _blocks(model: AutoEncoder) -> dict[str, list[nn.Module]]:
    return {"encoder": encoder_blocks(model).blocks, "decoder": decoder_blocks(model).blocks}


def _lowered(
    execution: Execution,
    blocks: Mapping[str, list[nn.Module]],
    frozen: Mapping[str, list[nn.Module]],
) -> dict[str, list[nn.Module]]:
    """Return the blocks that compute in bfloat16: shared-out ones, and those kept so."""
    shared = blocks if execution.sharding != "replicated" else {}
    kept = frozen if execution.stored == "bfloat16" else {}
    return {**shared, **kept} if execution.dtype == "bfloat16" else {}


def _sizes(blocks: Sequence[nn.Module]) -> list[int]:
    return [size_in_bytes(block) for block in blocks]
