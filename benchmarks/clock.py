"""Where a process spends its time: in models' forward, in backward, or elsewhere."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import nn

_PARTS = {
    "transformers": "forward: encoder",
    "peft": "forward: encoder",
    "diffusers.models.transformers": "forward: transformer",
    "diffusers.models.autoencoders": "forward: VAE",
    "uae.models.connector": "forward: connector",
    "open_clip": "forward: scorer",
}
BACKWARD = "backward"


def now() -> float:
    """Return seconds, after what a GPU still has to do."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


class ModelClock:
    """Adds up the seconds of every outermost module call and of every backward pass."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._depth = 0
        self._started = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Watch all modules of the process."""
        hooks = nn.modules.module
        handles = [
            hooks.register_module_forward_pre_hook(lambda *_: self._enter()),
            hooks.register_module_forward_hook(
                lambda module, *_: self._leave(_part_of(module)), always_call=True
            ),
        ]
        plain_backward = torch.autograd.backward

        def timed_backward(*arguments: Any, **settings: Any) -> None:
            self._enter()
            try:
                plain_backward(*arguments, **settings)
            finally:
                self._leave(BACKWARD)

        try:
            with mock.patch.object(torch.autograd, "backward", timed_backward):
                yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self) -> None:
        if self._depth == 0:
            self._started = now()
        self._depth += 1

    def _leave(self, part: str) -> None:
        self._depth -= 1
        if self._depth == 0:
            self.seconds[part] += now() - self._started


def _part_of(module: nn.Module) -> str:
    name = type(module).__module__
    return next((part for start, part in _PARTS.items() if name.startswith(start)), "forward: rest")
