"""The straight path between data and noise, and what a velocity says about its two ends.

Convention: t = 1 is noise, t = 0 is data, velocity = noise - data.
Shape letters: B images, C latent channels, H and W latent height and width.
Source: rectified flow, arXiv:2209.03003.
"""

from torch import Tensor


def interpolate(data_BCHW: Tensor, noise_BCHW: Tensor, t_B: Tensor) -> Tensor:
    """Return x_t = (1 - t) data + t noise, shape (B, C, H, W); t has one value per image."""
    t_B111 = t_B.reshape(-1, 1, 1, 1)
    return (1 - t_B111) * data_BCHW + t_B111 * noise_BCHW


def predicted_data(x_BCHW: Tensor, velocity_BCHW: Tensor, t: Tensor | float) -> Tensor:
    """Return the data end of the line through x with this velocity: x - t v.

    Args:
        x_BCHW: Latents at time t.
        velocity_BCHW: Model output at (x, t).
        t: One time, or one for each image, shape (B,).
    """
    return x_BCHW - _per_image(t) * velocity_BCHW


def predicted_noise(x_BCHW: Tensor, velocity_BCHW: Tensor, t: Tensor | float) -> Tensor:
    """Return the noise end of the line through x with this velocity: x + (1 - t) v."""
    return x_BCHW + (1 - _per_image(t)) * velocity_BCHW


def _per_image(t: Tensor | float) -> Tensor | float:
    return t.reshape(-1, 1, 1, 1) if isinstance(t, Tensor) else t
