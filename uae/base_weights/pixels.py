"""Batches of pictures out of a pool, drawn from the step's own seed."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uae.seeds import make_generator


def batch_indices(
    seed: int, name: str, step: int, pool_size: int, batch_size: int
) -> tuple[NDArray[np.int64], torch.Generator]:
    """Return the step's indices into the pool and the generator for its other draws."""
    generator = make_generator(seed, name, step)
    return torch.randint(pool_size, (batch_size,), generator=generator).numpy(), generator


def to_pixels(images_BHWC: NDArray[np.uint8]) -> Tensor:
    """Return images as (B, 3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(images_BHWC).permute(0, 3, 1, 2).float() / 255
