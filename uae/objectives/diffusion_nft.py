"""DiffusionNFT: learn from good and bad pictures in the forward process, without log-probs.

A picture of optimality r pulls an implicit positive velocity towards itself with weight r, and
an implicit negative one, the policy mirrored at the old policy, with weight 1 - r.

Shape letters: N pictures, C, H, W latent channels, height and width.
Source: arXiv:2509.16117 and its authors' code.
"""

from torch import Tensor

from uae.flow_matching.path import predicted_data
from uae.objectives.loss import Loss
from uae.recipe import DiffusionNftRecipe

_SMALLEST_ERROR = 1e-5


def diffusion_nft_loss(
    velocity_NCHW: Tensor,
    old_velocity_NCHW: Tensor,
    reference_velocity_NCHW: Tensor,
    x_NCHW: Tensor,
    t_N: Tensor,
    clean_NCHW: Tensor,
    advantages_N: Tensor,
    recipe: DiffusionNftRecipe,
) -> Loss:
    """Return the loss of one drawn time for each picture.

    Args:
        velocity_NCHW: Of the policy being trained, at (x, t).
        old_velocity_NCHW: Of the slowly updated copy that drew the pictures.
        reference_velocity_NCHW: Of the model at the start of the stage.
        x_NCHW: `clean_NCHW` mixed with fresh noise at t.
        t_N: The drawn times.
        clean_NCHW: The rolled-out latents at t = 0.
        advantages_N: One for each picture; beyond max_advantage they saturate.
        recipe: beta, reference weight, max_advantage.

    Returns:
        The loss; metrics kl (mean square difference from the reference's velocity),
        old_policy_distance, and clip_share, here the share of advantages that saturate.
    """
    old, reference = old_velocity_NCHW.detach(), reference_velocity_NCHW.detach()
    beta = recipe.beta
    positive = beta * velocity_NCHW + (1 - beta) * old
    negative = (1 + beta) * old - beta * velocity_NCHW
    optimality_N = (advantages_N / (2 * recipe.max_advantage) + 0.5).clamp(0, 1)
    policy_N = (
        optimality_N * _data_error(positive, x_NCHW, t_N, clean_NCHW)
        + (1 - optimality_N) * _data_error(negative, x_NCHW, t_N, clean_NCHW)
    ) / beta
    kl = ((velocity_NCHW - reference) ** 2).mean()
    # The authors multiply by the advantage's limit; the reference weight belongs to that scale.
    loss = recipe.max_advantage * policy_N.mean() + recipe.reference_weight * kl
    metrics = {
        "loss": loss.item(),
        "kl": kl.item(),
        "old_policy_distance": ((velocity_NCHW - old) ** 2).mean().item(),
        "clip_share": (advantages_N.abs() >= recipe.max_advantage).float().mean().item(),
    }
    return Loss(loss, metrics)


def _data_error(velocity: Tensor, x: Tensor, t_N: Tensor, clean: Tensor) -> Tensor:
    """Mean square error of the predicted data, divided by its own mean absolute error: (N,)."""
    error = predicted_data(x, velocity, t_N) - clean
    size_N = error.detach().abs().mean(dim=(1, 2, 3)).clamp(min=_SMALLEST_ERROR)
    return (error**2).mean(dim=(1, 2, 3)) / size_N
