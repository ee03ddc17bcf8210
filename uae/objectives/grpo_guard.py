"""GRPO-Guard: Flow-GRPO with a ratio that means the same at every step.

With x_next = mean_old + std eps and log_prob = -w mean((x_next - mean)^2) + constant,

    log_prob - log_prob_old = -w mean((mean - mean_old)^2) + 2 w std mean(eps (mean - mean_old)).

The first term is always negative and drags all ratios below 1; the factor 2 w std differs from
step to step. Guard adds the first back and divides by the second, so that

    log r = mean(eps (mean - mean_old)).

For `sde`, w = 1 / (2 std^2), and this is the paper's exp((delta + bias) std). For `cps`, w = 1:
the paper does not treat it, the same derivation divides by 2 std. Dividing the loss by the step
size makes the gradient of every step of the schedule weigh alike.

Source: arXiv:2510.22319.
"""

from torch import Tensor

from uae.flow_matching.sde import SdeStep
from uae.objectives.flow_grpo import with_step_kl
from uae.objectives.loss import Loss, clipped_surrogate, ratio_metrics
from uae.recipe import GrpoGuardRecipe


def grpo_guard_loss(
    step: SdeStep,
    rollout_log_probs_N: Tensor,
    rollout_mean_NCHW: Tensor,
    advantages_N: Tensor,
    recipe: GrpoGuardRecipe,
    reference_mean_NCHW: Tensor | None = None,
) -> Loss:
    """Return the loss of one step of the window, averaged over the trajectories.

    Args:
        step: The drawn step, scored by the policy being trained.
        rollout_log_probs_N: Of the same step, by the policy that drew it.
        rollout_mean_NCHW: The step's mean under the policy that drew it.
        advantages_N: One for each trajectory, clipped already.
        recipe: Clip range and KL weight.
        reference_mean_NCHW: The step's mean under the stage's start. None leaves out the KL.

    Returns:
        The loss; metrics ratio/mean, ratio/max_deviation, clip_share, and kl if it was measured.

    Raises:
        ValueError: If the recipe weighs a KL without a reference.
    """
    drift_N = ((step.mean - rollout_mean_NCHW) ** 2).mean(dim=(1, 2, 3))
    log_ratio_N = step.log_prob - rollout_log_probs_N + step.log_prob_weight * drift_N
    normalised_N = log_ratio_N / (2 * step.log_prob_weight * step.std)
    surrogate = clipped_surrogate(normalised_N, advantages_N, recipe.clip_range, recipe.clip_range)
    loss, metrics = surrogate.loss.mean() / step.step_size, ratio_metrics(surrogate)
    return with_step_kl(Loss(loss, metrics), step, recipe, reference_mean_NCHW)
