"""What a piece of code costs: its floating-point operations, and the most memory it holds.

The code is really called, on models and inputs of the meta device, whose tensors have shapes and no
content. So the costs are those of the real classes, the backward pass and recomputation included,
and a model of any size is traced in a second.

Counted are matrix products, convolutions and attention, a multiplication and an addition as two
operations (`torch.utils.flop_counter`). Memory is what live tensors hold; an allocator's rounding
and the workspaces of CUDA's libraries come on top. Attention is counted as CUDA's fused kernels
compute it, which keep no matrix of all pairs of tokens; left to itself the meta device takes the
kind that does.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

_LARGEST_FLASH_HEAD = 256  # elements of a head


@dataclass(frozen=True)
class Cost:
    """The cost of a call."""

    flops: int
    peak_bytes: int  # largest sum of the tensors that the call made and that lived at once
    float32_flops: int = (
        0  # those of `flops` that are in float32: what stands around blocks, and adapters
    )

    def __add__(self, other: Cost) -> Cost:
        """One after the other."""
        return Cost(
            self.flops + other.flops,
            max(self.peak_bytes, other.peak_bytes),
            self.float32_flops + other.float32_flops,
        )

    def times(self, count: float) -> Cost:
        """So many times, one after another."""
        return Cost(
            int(self.flops * count),
            self.peak_bytes if count else 0,
            int(self.float32_flops * count),
        )


NOTHING = Cost(0, 0)


def trace(call: Callable[[], Any]) -> Cost:
    """Call, and return what it cost. What it returns is dropped at the end, not before."""
    counter = _Counter()
    with _attention_as_on_cuda(), counter:
        kept = call()
    del kept
    return Cost(counter.flops, counter.peak_bytes, counter.float32_flops)


@contextmanager
def _attention_as_on_cuda() -> Iterator[None]:
    """Replace attention between tensors of the meta device, in recomputation as well.

    A mode of torch.overrides would not do: the backward pass does not see it.
    """
    functional: Any = torch.nn.functional
    original = functional.scaled_dot_product_attention

    def attention(query: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        chosen = _fused_attention if query.is_meta else original
        return cast(Tensor, chosen(query, *args, **kwargs))

    functional.scaled_dot_product_attention = attention
    try:
        yield
    finally:
        functional.scaled_dot_product_attention = original


def _fused_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Attend as CUDA does: flash where it can, else the memory-efficient kernel."""
    operations = torch.ops.aten
    is_flash = attn_mask is None and query.dtype != torch.float32
    if is_flash and query.shape[-1] <= _LARGEST_FLASH_HEAD:
        out = operations._scaled_dot_product_flash_attention(
            query, key, value, dropout_p, is_causal, scale=scale
        )
        return cast(Tensor, out[0])
    if enable_gqa:
        repeats = query.shape[1] // key.shape[1]
        key, value = (t.repeat_interleave(repeats, dim=1) for t in (key, value))
    if attn_mask is not None:
        attn_mask = attn_mask.to(query.dtype).expand(*query.shape[:-1], key.shape[-2])
    out = operations._scaled_dot_product_efficient_attention(
        query, key, value, attn_mask, query.requires_grad, dropout_p, is_causal, scale=scale
    )
    return cast(Tensor, out[0])


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up operations, and follows the storages that they make until the last holder lets go.

    `FlopCounterMode` counts the same, and follows modules as well, which keeps recomputed
    activations alive for longer than without it.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = self.float32_flops = 0
        self.peak_bytes = 0
        self._live_bytes = 0
        self._known: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        for leaf in tree_leaves((args, kwargs)):  # what comes from outside is not this call's
            if isinstance(leaf, Tensor):
                self._follow(leaf, counted=False)
        result = func(*args, **kwargs)
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._follow(leaf, counted=True)
        self.peak_bytes = max(self.peak_bytes, self._live_bytes)
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            flops = formula(*args, **kwargs, out_val=result)
            self.flops += flops
            if any(t.dtype == torch.float32 for t in tree_leaves(args) if isinstance(t, Tensor)):
                self.float32_flops += flops
        return result

    def _follow(self, tensor: Tensor, *, counted: bool) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes() if counted else 0
        if key in self._known:
            return

        def forget(_: Any) -> None:
            self._live_bytes -= size
            self._known.pop(key, None)

        self._known[key] = weakref.ref(storage, forget)
        self._live_bytes += size
