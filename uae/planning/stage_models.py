"""The models of one stage on the meta device, with the adapters that it trains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from uae.models.autoencoder import AutoEncoder
from uae.models.bundle import Stage
from uae.models.lora import LoraHost
from uae.planning.configs import ModelConfigs
from uae.planning.execution import Execution
from uae.planning.meta_models import build_autoencoder, build_scorer, size_in_bytes
from uae.recipe import DiffusionNftRecipe, LoraRecipe, Recipe, TrainedStage
from uae.rewards.reconstruction import ReconstructionScorer

_TRAINED = "trained"
_WRITER = "caption adapter"
_OLD = "old policy"


@dataclass(frozen=True)
class Blocks:
    """Bytes of a model's repeated blocks, in the type of computing: what can be shared out."""

    total: int
    largest: int


@dataclass(frozen=True)
class StageModels:
    """What a stage holds: frozen parts, and what it trains."""

    model: AutoEncoder
    scorer: ReconstructionScorer | None
    weights: Mapping[str, int]  # bytes of each part without adapters, in the type of computing
    blocks: Mapping[str, Blocks]  # of encoder and decoder
    trained: Mapping[str, nn.Parameter]
    num_lora: int  # trained parameters that are adapters'
    num_frozen_lora: int  # of adapters that are only used
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
    dtype = getattr(torch, execution.dtype)
    model = build_autoencoder(
        configs,
        image_size=recipe.data.image_size,
        condition_tokens=condition_tokens,
        dtype=dtype,
    )
    section: TrainedStage = getattr(recipe, stage)
    scorer = None
    if section.scorer_used is not None:
        scorer = build_scorer(configs, section.scorer_used, dtype)
    weights = {
        "encoder": size_in_bytes(model.encoder.model),
        "connector": size_in_bytes(model.connector),
        "decoder": size_in_bytes(model.decoder.transformer),
        "VAE": size_in_bytes(model.decoder.vae),
        "scorer": 0 if scorer is None else size_in_bytes(scorer),
    }
    blocks = {
        "encoder": _blocks(model.encoder.model),
        "decoder": _blocks(model.decoder.transformer),
    }
    frozen = _add_frozen_adapters(stage, recipe, model)
    trained, lora = _make_trainable(stage, recipe, model)
    if execution.checkpoint_blocks:
        model.decoder.transformer.enable_gradient_checkpointing()
    _as_while_training(model, trained, dtype)
    whole = stage == "pretrain_decoder" and recipe.pretrain_decoder.lora is None
    in_blocks = blocks["decoder"].total // dtype.itemsize if whole else 0
    return StageModels(model, scorer, weights, blocks, trained, lora, frozen, in_blocks)


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


def _add_frozen_adapters(stage: Stage, recipe: Recipe, model: AutoEncoder) -> int:
    """Add adapters that are used and not trained; return how many numbers they have."""
    if stage != "understanding_for_generation":
        return 0
    num = 0
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
            num += parameter.numel()
    return num


def _as_while_training(
    model: AutoEncoder, trained: Mapping[str, nn.Parameter], dtype: torch.dtype
) -> None:
    """Let adapters compute in `dtype`, and have gradients that are added to, as after a pass."""
    for host in (model.encoder, model.decoder):
        for name in host.adapters:
            for parameter in host.lora_parameters(name).values():
                parameter.data = parameter.data.to(dtype)
    for parameter in trained.values():
        parameter.grad = torch.zeros_like(parameter)


def _blocks(module: nn.Module) -> Blocks:
    """Measure the blocks of all lists of blocks; a list within a block is part of it."""
    lists = {name: m for name, m in module.named_modules() if isinstance(m, nn.ModuleList)}
    outer = [
        m for name, m in lists.items() if not any(name.startswith(f"{other}.") for other in lists)
    ]
    sizes = [size_in_bytes(block) for blocks in outer for block in blocks]
    return Blocks(sum(sizes), max(sizes, default=0))
