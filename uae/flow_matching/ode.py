"""Sampling with the probability-flow ODE: Euler steps along the velocity.

Convention: t = 1 is noise, t = 0 is data, velocity = noise - data.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor
from torch.utils.checkpoint import checkpoint as recompute_in_backward

VelocityFn = Callable[[Tensor, float], Tensor]
"""Maps latents (B, C, H, W) at one time t to their velocity, same shape."""


def sample_ode(
    velocity_fn: VelocityFn,
    noise_BCHW: Tensor,
    times: Sequence[float],
    *,
    checkpoint: bool = False,
) -> Tensor:
    """Walk from noise to data.

    Args:
        velocity_fn: The model, its condition and guidance already bound.
        noise_BCHW: Latents at times[0].
        times: Strictly falling, from `sampling_times` or a part of it.
        checkpoint: Keep only the latents between steps and compute each step's activations
            again in the backward pass; for losses that are differentiated through the sampler.

    Returns:
        float32 latents at times[-1], shape (B, C, H, W).

    Raises:
        ValueError: If there are fewer than two times, or they do not fall within [0, 1].
    """
    if len(times) < 2 or not 0 <= times[-1] < times[0] <= 1:
        raise ValueError(f"sampling times must fall from at most 1 to at least 0, got {times}")
    x = noise_BCHW.float()
    for t, t_next in pairwise(times):
        if t_next >= t:
            raise ValueError(f"sampling times must fall, got {t} then {t_next}")
        if checkpoint:
            velocity = recompute_in_backward(velocity_fn, x, t, use_reentrant=False)
        else:
            velocity = velocity_fn(x, t)
        x = x + (t_next - t) * velocity.float()  # bf16 would lose the small steps
    return x
