"""Gaussian noise that is the same on every machine, and in however many processes it is drawn."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class SharedGenerator:
    """Draws for a whole batch, of which one process of several keeps those of its own samples.

    All processes draw the same numbers, so that a sample's do not depend on who draws them.
    """

    generator: torch.Generator
    places: Sequence[int]  # of this process's samples in the batch
    num_samples: int  # of the batch


NoiseSource = torch.Generator | SharedGenerator


def draw_noise(shape: Sequence[int], source: NoiseSource | None, device: torch.device) -> Tensor:
    """Draw standard normal numbers where the generator is, and move them to `device`.

    A generator on the CPU gives a GPU run the noise of a CPU run. None is the device's own. From
    a shared generator `shape` has equally many rows for each of the process's own samples.
    """
    if isinstance(source, SharedGenerator):
        each = shape[0] // len(source.places)
        rows = (source.num_samples, each, *shape[1:])
        whole = torch.randn(rows, generator=source.generator, device=source.generator.device)
        return _moved(whole[list(source.places)].flatten(0, 1), device)
    origin = device if source is None else source.device
    return _moved(torch.randn(tuple(shape), generator=source, device=origin), device)


def _moved(noise: Tensor, device: torch.device) -> Tensor:
    """Move noise without waiting for what a GPU still computes."""
    if noise.device.type == "cpu" and device.type == "cuda":
        return noise.pin_memory().to(device, non_blocking=True)
    return noise.to(device)
