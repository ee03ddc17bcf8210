"""One stochastic sampling step of a rectified flow, with its log-probability.

Convention: t = 1 is noise, t = 0 is data, velocity = noise - data.
Shape letters: B images, C latent channels, H and W latent height and width.
Sources: Flow-GRPO, arXiv:2505.05470 (`sde_step`); coefficients-preserving sampling,
arXiv:2509.05952 (`cps_step`).
"""

import math
from typing import Literal, NamedTuple, Protocol

from torch import Tensor

from uae.flow_matching.noise import NoiseSource, draw_noise
from uae.flow_matching.path import predicted_data, predicted_noise


class SdeStep(NamedTuple):
    """A Gaussian transition from t to t_next and the point drawn from it.

    Both kinds of step have log_prob = constant - log_prob_weight * mean((x_next - mean)^2).
    """

    x_next: Tensor  # (B, C, H, W)
    mean: Tensor  # (B, C, H, W)
    std: float  # of x_next around the mean
    log_prob: Tensor  # (B,), mean over C, H, W
    noise_scale: float  # the papers' sigma_t: std / sqrt(t - t_next) for sde, std for cps
    log_prob_weight: float  # 1 / (2 std^2) for sde, 1 for cps
    step_size: float  # t - t_next, positive


class StepFn(Protocol):
    """The signature that all stochastic steps share."""

    def __call__(
        self,
        velocity_BCHW: Tensor,
        x_BCHW: Tensor,
        *,
        t: float,
        t_next: float,
        t_max: float,
        noise_level: float,
        x_next_BCHW: Tensor | None = None,
        generator: NoiseSource | None = None,
    ) -> SdeStep:
        """Draw one step, or score a step drawn earlier."""


def sde_step(
    velocity_BCHW: Tensor,
    x_BCHW: Tensor,
    *,
    t: float,
    t_next: float,
    t_max: float,
    noise_level: float,
    x_next_BCHW: Tensor | None = None,
    generator: NoiseSource | None = None,
) -> SdeStep:
    """Draw one Euler-Maruyama step, or score a step drawn earlier.

    Args:
        velocity_BCHW: Model output at (x, t), in latent units per unit of t.
        x_BCHW: Latents at time t.
        t: Current time.
        t_next: Next time, below t.
        t_max: The schedule's second value; caps 1 - t, where the noise scale is infinite.
        noise_level: The paper's `a`; larger explores more.
        x_next_BCHW: Latents to score. None draws them.
        generator: Source of the drawn noise, on any device.

    Returns:
        The step. `log_prob` is the mean over C, H, W, as in the authors' code, not the
        sum: the clip range is tuned to it.

    Raises:
        ValueError: If not 0 <= t_next < t <= 1, not 0 < t_max < 1, or noise_level <= 0.
    """
    _check_step(t, t_next, t_max, noise_level)
    x, velocity = x_BCHW.float(), velocity_BCHW.float()  # bf16 loses the small dt term
    dt = t_next - t
    sigma = noise_level * math.sqrt(t / (1 - min(t, t_max)))
    mean = x + (velocity + sigma**2 / (2 * t) * (x + (1 - t) * velocity)) * dt
    std = sigma * math.sqrt(-dt)
    x_next = _draw(mean, std, generator) if x_next_BCHW is None else x_next_BCHW.float()
    log_density = -((x_next - mean) ** 2) / (2 * std**2) - math.log(std * math.sqrt(2 * math.pi))
    return SdeStep(
        x_next=x_next,
        mean=mean,
        std=std,
        log_prob=log_density.mean(dim=(1, 2, 3)),
        noise_scale=sigma,
        log_prob_weight=1 / (2 * std**2),
        step_size=-dt,
    )


def cps_step(
    velocity_BCHW: Tensor,
    x_BCHW: Tensor,
    *,
    t: float,
    t_next: float,
    t_max: float,
    noise_level: float,
    x_next_BCHW: Tensor | None = None,
    generator: NoiseSource | None = None,
) -> SdeStep:
    """Draw one coefficients-preserving step, or score a step drawn earlier.

    The predicted data keeps its weight 1 - t_next, and the predicted noise and the fresh noise
    together keep t_next: no more noise is left in the picture than the schedule says. That
    keeps the noise level, not the ODE's distribution.

    Args:
        velocity_BCHW: Model output at (x, t), in latent units per unit of t.
        x_BCHW: Latents at time t.
        t: Current time.
        t_next: Next time, below t and above 0: the last step of a schedule draws no noise.
        t_max: Not used; here so that both steps are called alike.
        noise_level: The paper's eta, the share of a right angle; 1 replaces all noise.
        x_next_BCHW: Latents to score. None draws them.
        generator: Source of the drawn noise, on any device.

    Returns:
        The step. `log_prob` is -mean((x_next - mean)^2), as in the authors' code: a Gaussian's
        without its variance and constant.

    Raises:
        ValueError: If not 0 < t_next < t <= 1, not 0 < t_max < 1, or not 0 < noise_level <= 1.
    """
    _check_step(t, t_next, t_max, noise_level)
    if t_next == 0 or noise_level > 1:
        raise ValueError(f"bad CPS step: {t_next=} must be above 0, {noise_level=} at most 1")
    x, velocity = x_BCHW.float(), velocity_BCHW.float()
    std = t_next * math.sin(noise_level * math.pi / 2)
    kept_noise = t_next * math.cos(noise_level * math.pi / 2)  # sqrt(t_next^2 - std^2)
    mean = (1 - t_next) * predicted_data(x, velocity, t)
    mean = mean + kept_noise * predicted_noise(x, velocity, t)
    x_next = _draw(mean, std, generator) if x_next_BCHW is None else x_next_BCHW.float()
    return SdeStep(
        x_next=x_next,
        mean=mean,
        std=std,
        log_prob=-((x_next - mean) ** 2).mean(dim=(1, 2, 3)),
        noise_scale=std,
        log_prob_weight=1.0,
        step_size=t - t_next,
    )


def step_fn(kind: Literal["sde", "cps"]) -> StepFn:
    """Return the step that a recipe names."""
    return {"sde": sde_step, "cps": cps_step}[kind]


def _check_step(t: float, t_next: float, t_max: float, noise_level: float) -> None:
    if not (0 <= t_next < t <= 1 and 0 < t_max < 1 and noise_level > 0):
        raise ValueError(f"bad SDE step: {t=}, {t_next=}, {t_max=}, {noise_level=}")


def _draw(mean: Tensor, std: float, generator: NoiseSource | None) -> Tensor:
    return (mean + std * draw_noise(mean.shape, generator, mean.device)).detach()
