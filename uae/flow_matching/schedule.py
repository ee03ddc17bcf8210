"""Times: at which the sampler stops, and at which training asks for the velocity.

Convention: t = 1 is noise, t = 0 is data.
Source: Stable Diffusion 3, arXiv:2403.03206 (shift, logit-normal times); the sampling times
are those of diffusers' FlowMatchEulerDiscreteScheduler.
"""

from typing import TypeVar

import torch
from torch import Tensor

Times = TypeVar("Times", float, Tensor)
_SMALLEST_TRAINED_TIME = 1 / 1000  # the scheduler counts 1,000 times from 1/1000 to 1


def shift_times(t: Times, shift: float) -> Times:
    """Move times towards noise: shift t / (1 + (shift - 1) t). 0 and 1 stay where they are.

    Raises:
        ValueError: If shift <= 0.
    """
    if shift <= 0:
        raise ValueError(f"the timestep shift must be above 0, got {shift}")
    return shift * t / (1 + (shift - 1) * t)


def sampling_times(num_steps: int, shift: float) -> list[float]:
    """Return the num_steps + 1 times from 1 down to 0 between which a sampler steps.

    As in diffusers, the smallest trained time is shifted twice, so the last step is short.

    Raises:
        ValueError: If num_steps < 1 or shift <= 0.
    """
    if num_steps < 1:
        raise ValueError(f"sampling needs at least one step, got {num_steps=}")
    smallest = shift_times(_SMALLEST_TRAINED_TIME, shift)
    spacing = (1 - smallest) / max(num_steps - 1, 1)
    even = [1 - step * spacing for step in range(num_steps)]
    return [shift_times(t, shift) for t in even] + [0.0]


def draw_training_times(
    num_times: int,
    *,
    logit_mean: float,
    logit_std: float,
    shift: float,
    generator: torch.Generator,
) -> Tensor:
    """Draw logit-normal times and shift them as the sampler's are.

    Args:
        num_times: How many.
        logit_mean: Mean of logit(t) before the shift; above 0 is noisier.
        logit_std: Its standard deviation.
        shift: The scheduler's timestep shift.
        generator: Source of the draw; the times are on its device.

    Returns:
        float32 times in (0, 1), shape (num_times,).

    Raises:
        ValueError: If num_times < 1, logit_std <= 0 or shift <= 0.
    """
    if num_times < 1 or logit_std <= 0:
        raise ValueError(f"bad training times: {num_times=}, {logit_std=}")
    normal = torch.randn(num_times, generator=generator, device=generator.device)
    return shift_times(torch.sigmoid(logit_mean + logit_std * normal), shift)
