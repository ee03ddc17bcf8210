"""Blocks that are kept in bfloat16, at half of float32's memory and many times its speed on GPUs.

Blocks are what a model repeats: the language model's layers, the vision tower's, and those of SD3's
transformer, nearly all of the weights. What stands around them stays float32, as the rounding of a
few numbers there would reach every output: embeddings, the logits' weights, time embeddings, last
norms and layers, connector and pooled embedding. So does the VAE: it is one
weight in a hundred, and bfloat16 would round latents and pictures to 8 bits. Adapters are float32
and compute in it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from uae.models.autoencoder import AutoEncoder
from uae.seeds import make_generator

_DROPPED = 0xFFFF  # the bits of float32 that bfloat16 lacks


class Blocks(NamedTuple):
    """A model that is called as a whole, and its blocks in the order in which they compute."""

    root: nn.Module
    blocks: list[nn.Module]


def encoder_blocks(model: AutoEncoder) -> Blocks:
    """Return the layers that write and read captions."""
    language_model = model.encoder.model.model.language_model
    return Blocks(language_model, list(language_model.layers))


def vision_blocks(model: AutoEncoder) -> Blocks:
    """Return the vision tower's blocks, which no stage trains."""
    tower = model.encoder.model.model.visual
    return Blocks(tower, list(tower.blocks))


def decoder_blocks(model: AutoEncoder) -> Blocks:
    """Return the blocks of SD3's transformer."""
    transformer = model.decoder.transformer
    return Blocks(transformer, list(transformer.transformer_blocks))


def lower(blocks: Sequence[nn.Module], seed: int = 0) -> None:
    """Round the weights of blocks to bfloat16, in place; adapters on them stay as they are.

    Up or down is drawn, so that the mean is the weight. Rounding to the nearest would undo what
    earlier stages have learned: published weights are numbers of 16 bits, and of a merged adapter
    what is smaller than half a step between two of these would vanish everywhere.

    Args:
        blocks: Of one model. The same numbers are drawn for its first block, and so on.
        seed: The recipe's.
    """
    for place, block in enumerate(blocks):
        for name, parameter in block.named_parameters():
            if ".lora_" not in name:
                parameter.data = _rounded(parameter.data, seed, place, name)


def _rounded(weight: Tensor, seed: int, *names: str | int) -> Tensor:
    """Round float32 to bfloat16, up with the chance that is the distance from below."""
    if weight.dtype != torch.float32 or weight.is_meta:
        return weight.to(torch.bfloat16)
    bits = weight.contiguous().view(torch.int32)
    if not bool((bits & _DROPPED).any()):
        return weight.to(torch.bfloat16)  # exact
    generator = make_generator(seed, "rounding", *names)
    drawn = torch.randint(0, _DROPPED + 1, bits.shape, generator=generator, dtype=torch.int32)
    return ((bits + drawn) & ~_DROPPED).view(torch.float32).to(torch.bfloat16)


def compute_lowered(blocks: Sequence[nn.Module]) -> None:
    """Let consecutive blocks with bfloat16 weights take any input and return float32.

    Between them activations are bfloat16. For blocks that FSDP does not call, which does the same.
    """
    for block in blocks:
        block.register_forward_pre_hook(_lowered_inputs, with_kwargs=True)
    blocks[-1].register_forward_hook(_raised_output)


def take_originals(model: AutoEncoder, bundle: Path) -> None:
    """Put the float32 weights of the model's bundle in the place of the rounded ones.

    What is trained stays as it is, so that adapters can be merged without any rounding. The model
    must be on the CPU, and must not be computed with any more.

    Raises:
        ModelError: If the bundle is missing or damaged.
    """
    found = AutoEncoder.load(bundle)
    for host, original in ((model.encoder, found.encoder), (model.decoder, found.decoder)):
        weights = original.base_state_dict()
        for name, parameter in host.base_parameters().items():
            if parameter.dtype != torch.float32:
                parameter.data = weights[name]


def _lowered_inputs(
    block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    del block
    return (
        tuple(_cast(value, torch.bfloat16) for value in args),
        {name: _cast(value, torch.bfloat16) for name, value in kwargs.items()},
    )


def _raised_output(block: nn.Module, args: Any, output: Any) -> Any:
    del block, args
    return _cast(output, torch.float32)


def _cast(value: Any, dtype: torch.dtype) -> Any:
    """Cast tensors of real numbers, also in tuples such as the positions' sine and cosine."""
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.to(dtype)
    if isinstance(value, tuple):
        return tuple(_cast(part, dtype) for part in value)
    return value
