"""Flow-GRPO: a clipped surrogate on one denoising step of every trajectory.

Shape letters: N trajectories, C, H, W latent channels, height and width.
Source: arXiv:2505.05470. The clip range belongs to a log-prob that is a mean over C, H, W.
"""

from torch import Tensor

from uae.flow_matching.sde import SdeStep
from uae.objectives.loss import Loss, clipped_surrogate, ratio_metrics
from uae.recipe import FlowGrpoRecipe, GrpoGuardRecipe


def flow_grpo_loss(
    step: SdeStep,
    rollout_log_probs_N: Tensor,
    rollout_mean_NCHW: Tensor,
    advantages_N: Tensor,
    recipe: FlowGrpoRecipe,
    reference_mean_NCHW: Tensor | None = None,
) -> Loss:
    """Return the loss of one step of the window, averaged over the trajectories.

    Args:
        step: The drawn step, scored by the policy being trained.
        rollout_log_probs_N: Of the same step, by the policy that drew it.
        rollout_mean_NCHW: Not used; here so that all trajectory objectives are called alike.
        advantages_N: One for each trajectory, clipped already.
        recipe: Clip range and KL weight.
        reference_mean_NCHW: The step's mean under the stage's start. None leaves out the KL.

    Returns:
        The loss; metrics ratio/mean, ratio/max_deviation, clip_share, and kl if it was measured.

    Raises:
        ValueError: If the recipe weighs a KL without a reference.
    """
    del rollout_mean_NCHW
    surrogate = clipped_surrogate(
        step.log_prob - rollout_log_probs_N, advantages_N, recipe.clip_range, recipe.clip_range
    )
    loss, metrics = surrogate.loss.mean(), ratio_metrics(surrogate)
    return with_step_kl(Loss(loss, metrics), step, recipe, reference_mean_NCHW)


def with_step_kl(
    loss: Loss,
    step: SdeStep,
    recipe: FlowGrpoRecipe | GrpoGuardRecipe,
    reference_mean_NCHW: Tensor | None,
) -> Loss:
    """Add kl_weight x mean((mean - mean_ref)^2) / (2 noise_scale^2), and report it as `kl`.

    This is the authors' form. The Gaussians' KL would also divide by the step size for `sde`;
    published KL weights belong to the form without it.

    Raises:
        ValueError: If the recipe weighs a KL without a reference.
    """
    if reference_mean_NCHW is None:
        if recipe.kl_weight > 0:
            raise ValueError(f"kl_weight={recipe.kl_weight} needs the reference's mean")
        return Loss(loss.loss, loss.metrics | {"loss": loss.loss.item()})
    kl = ((step.mean - reference_mean_NCHW) ** 2).mean() / (2 * step.noise_scale**2)
    total = loss.loss + recipe.kl_weight * kl
    return Loss(total, loss.metrics | {"kl": kl.item(), "loss": total.item()})
