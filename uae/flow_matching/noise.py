"""Gaussian noise that is the same on every machine."""

from collections.abc import Sequence

import torch
from torch import Tensor


def draw_noise(
    shape: Sequence[int], generator: torch.Generator | None, device: torch.device
) -> Tensor:
    """Draw standard normal numbers where the generator is, and move them to `device`.

    A generator on the CPU gives a GPU run the noise of a CPU run. None is the device's own.
    """
    source = device if generator is None else generator.device
    return torch.randn(tuple(shape), generator=generator, device=source).to(device)
