"""Image rollouts: G denoising trajectories for each caption, stochastic within a window of steps.

Outside the window the cheap ODE step is taken; inside, latents and log-probs are kept in
float32, so that a step can be replayed with ratio 1. The window is one for a whole group
(Flow-GRPO's fast variant collapses when it is drawn per picture).

Shape letters: P captions, G trajectories for each, N = P x G, W window steps, T condition
tokens, D width; C, H, W of latents (in `W`'s place after C and H it is the latents' width).
Trajectory n = p * G + g belongs to caption p.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from uae.flow_matching.noise import NoiseSource, SharedGenerator, draw_noise
from uae.flow_matching.ode import VelocityFn, sample_ode
from uae.flow_matching.schedule import sampling_times
from uae.flow_matching.sde import SdeStep, step_fn
from uae.models.decoder import Decoder
from uae.recipe import ImageRolloutRecipe


@dataclass(frozen=True)
class ImageRollout:
    """Groups of pictures, and their trained window's steps."""

    latents: Tensor  # (N, W + 1, C, H, W) float32: the window's first point and those drawn
    log_probs_NW: Tensor  # float32, mean over C, H, W as `SdeStep.log_prob`
    means_NWCHW: Tensor  # float32, the Gaussian means that the points were drawn around
    times: list[tuple[float, float]]  # (t, t_next) of each window step
    window_start: int
    t_max: float  # the schedule's second value
    final_latents_NCHW: Tensor  # float32, at t = 0
    images_NCHW: Tensor  # RGB in [0, 1]
    context_NTD: Tensor
    negative_1TD: Tensor | None
    recipe: ImageRolloutRecipe

    @property
    def window_size(self) -> int:
        """W."""
        return len(self.times)

    def part(self, first: int, last: int) -> "ImageRollout":
        """Return the groups of captions first .. last - 1.

        Raises:
            ValueError: If there are no such captions.
        """
        group = self.recipe.group_size
        if not 0 <= first < last <= len(self.context_NTD) // group:
            raise ValueError(f"captions {first} .. {last} are not part of this rollout")
        rows = slice(first * group, last * group)
        return ImageRollout(
            self.latents[rows],
            self.log_probs_NW[rows],
            self.means_NWCHW[rows],
            self.times,
            self.window_start,
            self.t_max,
            self.final_latents_NCHW[rows],
            self.images_NCHW[rows],
            self.context_NTD[rows],
            self.negative_1TD,
            self.recipe,
        )


@torch.no_grad()
def rollout_images(
    decoder: Decoder,
    context_PTD: Tensor,
    recipe: ImageRolloutRecipe,
    source: NoiseSource,
    *,
    image_size: int,
    negative_1TD: Tensor | None = None,
) -> ImageRollout:
    """Draw G pictures for each caption, all in one batch as far as it is bounded.

    Args:
        decoder: Its active adapters are the policy.
        context_PTD: Conditions of the P captions.
        recipe: Steps, window, noise, guidance. One window start is drawn for the batch.
        source: Of the window and of all noise, on any device.
        image_size: Side of the pictures in pixels.
        negative_1TD: The empty caption's condition; needed when guidance_scale is above 1.
    """
    group = recipe.group_size
    context = context_PTD.repeat_interleave(group, dim=0)
    velocity_fn = _velocity_fn(decoder, context, recipe, negative_1TD, is_drawing=True)
    times = sampling_times(recipe.num_steps, decoder.shift)
    starts = recipe.window_start_max + 1
    generator = source.generator if isinstance(source, SharedGenerator) else source
    start = int(torch.randint(starts, (), generator=generator, device=generator.device))
    end = start + recipe.window_size
    shape = decoder.latent_shape(image_size)
    if recipe.shared_initial_noise:  # the group is one trajectory until the window begins
        x = draw_noise((len(context_PTD), *shape), source, decoder.device)
        shared_fn = _velocity_fn(decoder, context_PTD, recipe, negative_1TD, is_drawing=True)
        x = _before_window(shared_fn, x, times[: start + 1]).repeat_interleave(group, dim=0)
    else:
        x = draw_noise((len(context), *shape), source, decoder.device)
        x = _before_window(velocity_fn, x, times[: start + 1])
    points, steps = [x], []
    for t, t_next in _window(times, start, end):
        step = _draw_step(velocity_fn(x, t), x, t, t_next, times[1], recipe, source)
        x = step.x_next
        points.append(x)
        steps.append(step)
    final = sample_ode(velocity_fn, x, times[end:])
    return ImageRollout(
        latents=torch.stack(points, dim=1),
        log_probs_NW=torch.stack([step.log_prob for step in steps], dim=1),
        means_NWCHW=torch.stack([step.mean for step in steps], dim=1),
        times=list(_window(times, start, end)),
        window_start=start,
        t_max=times[1],
        final_latents_NCHW=final,
        images_NCHW=decoder.decode_latents(final),
        context_NTD=context,
        negative_1TD=negative_1TD,
        recipe=recipe,
    )


def replay_steps(decoder: Decoder, rollout: ImageRollout, w: int) -> SdeStep:
    """Score window step `w` of every trajectory under the decoder's active adapters.

    Differentiable. Unchanged weights give the rollout's log-probs and means.

    Raises:
        ValueError: If the window has no such step.
    """
    if not 0 <= w < rollout.window_size:
        raise ValueError(f"window step {w} is not one of {rollout.window_size}")
    recipe = rollout.recipe
    velocity_fn = _velocity_fn(decoder, rollout.context_NTD, recipe, rollout.negative_1TD)
    x, x_next = rollout.latents[:, w], rollout.latents[:, w + 1]
    t, t_next = rollout.times[w]
    return step_fn(recipe.step)(
        velocity_fn(x, t),
        x,
        t=t,
        t_next=t_next,
        t_max=rollout.t_max,
        noise_level=recipe.noise_level,
        x_next_BCHW=x_next,
    )


def _velocity_fn(
    decoder: Decoder,
    context_NTD: Tensor,
    recipe: ImageRolloutRecipe,
    negative_1TD: Tensor | None,
    *,
    is_drawing: bool = False,
) -> VelocityFn:
    return decoder.velocity_fn(
        context_NTD,
        guidance_scale=recipe.guidance_scale,
        negative_1TD=negative_1TD,
        is_bounded=is_drawing,
    )


def _window(times: list[float], start: int, end: int) -> Iterator[tuple[float, float]]:
    return zip(times[start:end], times[start + 1 : end + 1], strict=True)


def _before_window(velocity_fn: VelocityFn, noise: Tensor, times: list[float]) -> Tensor:
    return sample_ode(velocity_fn, noise, times) if len(times) > 1 else noise


def _draw_step(
    velocity: Tensor,
    x: Tensor,
    t: float,
    t_next: float,
    t_max: float,
    recipe: ImageRolloutRecipe,
    source: NoiseSource,
) -> SdeStep:
    step = step_fn(recipe.step)
    return step(
        velocity,
        x,
        t=t,
        t_next=t_next,
        t_max=t_max,
        noise_level=recipe.noise_level,
        generator=source,
    )
