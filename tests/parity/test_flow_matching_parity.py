"""Against diffusers' scheduler and torch.distributions, on random latents."""

import math
from itertools import pairwise

import pytest
import torch
from diffusers.schedulers.scheduling_flow_match_euler_discrete import (
    FlowMatchEulerDiscreteScheduler,
)

from uae.flow_matching.ode import sample_ode
from uae.flow_matching.schedule import sampling_times
from uae.flow_matching.sde import sde_step


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("num_steps", [1, 8, 10, 40])
def test_sampling_times_are_those_of_diffusers(num_steps, shift):
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(num_steps)
    ours = torch.tensor(sampling_times(num_steps, shift))
    # Worst case seen: 0.
    torch.testing.assert_close(ours, scheduler.sigmas, atol=2e-7, rtol=0)


def test_ode_sampling_is_that_of_diffusers():
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))

    def velocity(x, t):
        return torch.sin(3 * x) + t

    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(8)
    theirs = noise
    for timestep in scheduler.timesteps:
        output = velocity(theirs, timestep.item() / 1000)
        theirs = scheduler.step(output, timestep, theirs).prev_sample
    ours = sample_ode(velocity, noise, sampling_times(8, 3.0))
    # Worst case seen: 5e-7.
    torch.testing.assert_close(ours, theirs, atol=2e-6, rtol=0)


@pytest.mark.parametrize(("t", "t_next"), [(1.0, 0.95), (0.9, 0.7), (0.3, 0.05), (0.05, 0.0)])
def test_sde_log_prob_is_the_normal_distributions(t, t_next):
    generator = torch.Generator().manual_seed(1)
    x, v = (torch.randn(3, 4, 8, 8, generator=generator) for _ in range(2))
    step = sde_step(v, x, t=t, t_next=t_next, t_max=0.95, noise_level=0.7, generator=generator)
    # The mean by the formula as the paper prints it, in double precision.
    s = 0.7 * math.sqrt(t / (1 - min(t, 0.95)))
    dt = t_next - t
    mean = x.double() * (1 + s**2 / (2 * t) * dt) + v.double() * (1 + s**2 * (1 - t) / (2 * t)) * dt
    # Worst case seen: 2e-7.
    torch.testing.assert_close(step.mean.double(), mean, atol=1e-6, rtol=1e-6)
    normal = torch.distributions.Normal(mean, s * math.sqrt(-dt))
    log_prob = normal.log_prob(step.x_next.double()).mean(dim=(1, 2, 3))
    # Worst case seen: 9e-8.
    torch.testing.assert_close(step.log_prob.double(), log_prob, atol=1e-6, rtol=1e-6)


def test_sde_steps_keep_the_odes_marginals():
    """A Gaussian's velocity is known: after many small steps its variance must be the data's."""
    scale = 0.5  # data ~ N(0, scale^2), so x_t ~ N(0, var(t)) and v = d/dt of the mean path

    def velocity(x, t):
        variance = ((1 - t) * scale) ** 2 + t**2
        return x * (t - (1 - t) * scale**2) / variance

    times = [1 - i / 400 for i in range(400)]
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(1, 1, 200, 200, generator=generator)
    for t, t_next in pairwise(times):
        x = sde_step(
            velocity(x, t),
            x,
            t=t,
            t_next=t_next,
            t_max=times[1],
            noise_level=0.7,
            generator=generator,
        ).x_next
    expected = math.sqrt(((1 - times[-1]) * scale) ** 2 + times[-1] ** 2)
    assert x.std().item() == pytest.approx(expected, rel=0.03)
