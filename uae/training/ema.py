"""Exponential moving average of the trained parameters."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Ema:
    """average = decay x average + (1 - decay) x parameter, after every `every` updates."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float, every: int) -> None:
        self._parameters = dict(parameters)
        self._decay = decay
        self._every = every
        self.average = {name: p.detach().clone() for name, p in self._parameters.items()}

    @torch.no_grad()
    def update(self, num_updates_done: int) -> None:
        """Move the average when `num_updates_done` is a multiple of `every`."""
        if num_updates_done % self._every:
            return
        for name, parameter in self._parameters.items():
            self.average[name].lerp_(parameter, 1 - self._decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average in the parameters' place, and the parameters back at the end."""
        trained = {name: p.detach().clone() for name, p in self._parameters.items()}
        copy_into(self._parameters, self.average)
        try:
            yield
        finally:
            copy_into(self._parameters, trained)


@torch.no_grad()
def copy_into(places: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    """Copy values into tensors of the same names, in place.

    Raises:
        KeyError: If a name has no value.
    """
    for name, place in places.items():
        place.copy_(values[name])
