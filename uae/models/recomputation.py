"""Blocks whose activations are computed again in the backward pass instead of being kept.

Only a block's inputs live from the forward to the backward pass. What is recomputed is a block's
`forward`, not its call: hooks such as FSDP's stay outside, where the backward pass has its own.

The libraries' own gradient checkpointing does not fit: diffusers' recomputes calls, and
transformers' acts in training mode alone and drops the cache by which a group of captions shares
its prompt. Here a layer of the language model gets its cached keys and values as inputs and returns
the longer ones, so that computing it twice does not lengthen the cache twice.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from uae.models.autoencoder import AutoEncoder
from uae.models.lora import LoraHost
from uae.models.precision import decoder_blocks, encoder_blocks

Forward = Callable[..., Any]


def recompute_blocks(model: AutoEncoder) -> None:
    """Recompute the blocks of language model and decoder wherever gradients are recorded."""
    for layer in encoder_blocks(model).blocks:
        layer.forward = _recomputed_layer(layer, model.encoder)
    for block in decoder_blocks(model).blocks:
        block.forward = _recomputed_block(block, model.decoder)


class _OneLayerCache:
    """Keys and values of one layer, in the place of a cache of all layers."""

    def __init__(self, keys: Tensor | None, values: Tensor | None) -> None:
        self.keys, self.values = keys, values

    def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        if self.keys is not None and self.values is not None:
            keys = torch.cat([self.keys, keys], dim=-2)
            values = torch.cat([self.values, values], dim=-2)
        self.keys, self.values = keys, values
        return keys, values


def _recomputed(forward: Forward, host: LoraHost) -> Forward:
    def recomputed(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        again = _Again(host)
        return checkpoint(
            forward,
            *args,
            use_reentrant=False,
            preserve_rng_state=False,  # nothing is drawn in a block
            context_fn=lambda: (nullcontext(), again),
            **kwargs,
        )

    return recomputed


def _recomputed_block(block: nn.Module, host: LoraHost) -> Forward:
    recomputed = _recomputed(block.forward, host)

    def positional(
        hidden_states: Tensor, encoder_hidden_states: Tensor, temb: Tensor, **kwargs: Any
    ) -> Any:
        return recomputed(hidden_states, encoder_hidden_states, temb, **kwargs)

    return positional


def _recomputed_layer(layer: nn.Module, host: LoraHost) -> Forward:
    original: Forward = layer.forward
    place: int = layer.get_submodule("self_attn").layer_idx  # type: ignore[assignment]

    def pure(
        hidden: Tensor, keys: Tensor | None, values: Tensor | None, kwargs: dict[str, Any]
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        cache = _OneLayerCache(keys, values)
        return original(hidden, past_key_values=cache, **kwargs), cache.keys, cache.values

    without_cache, with_cache = _recomputed(original, host), _recomputed(pure, host)

    def recomputed(hidden: Tensor, *, past_key_values: Any = None, **kwargs: Any) -> Any:
        if past_key_values is None:
            return without_cache(hidden, **kwargs)
        if not torch.is_grad_enabled():
            return original(hidden, past_key_values=past_key_values, **kwargs)
        cached = past_key_values.layers[place]
        before = (cached.keys, cached.values) if cached.is_initialized else (None, None)
        hidden, keys, values = with_cache(hidden, *before, kwargs)
        if not cached.is_initialized:
            cached.lazy_initialization(keys, values)
        cached.keys, cached.values = keys, values
        return hidden

    return recomputed


class _Again:
    """Context of the backward pass: the adapters that were active in the forward pass."""

    def __init__(self, host: LoraHost) -> None:
        self._host, self._active = host, host.active
        self._entered: list[AbstractContextManager[None]] = []

    def __enter__(self) -> None:
        is_same = self._host.active == self._active  # nearly always, and switching takes time
        context = nullcontext() if is_same else self._host.use_adapters(self._active)
        self._entered.append(context)
        context.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._entered.pop().__exit__(*error)
