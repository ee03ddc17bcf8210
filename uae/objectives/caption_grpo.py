"""GRPO on captions: a clipped surrogate on every token, and a KL to the stage's start.

Shape letters: N captions, L tokens.
Sources: GRPO, arXiv:2402.03300; per-token aggregation and clip-higher: DAPO, arXiv:2503.14476;
the KL estimator k3: http://joschu.net/blog/kl-approx.html.
"""

from torch import Tensor

from uae.objectives.loss import Loss, clipped_surrogate, ratio_metrics
from uae.recipe import CaptionGrpoRecipe


def caption_grpo_loss(
    policy_log_probs_NL: Tensor,
    rollout_log_probs_NL: Tensor,
    advantages_N: Tensor,
    mask_NL: Tensor,
    recipe: CaptionGrpoRecipe,
    reference_log_probs_NL: Tensor | None = None,
    *,
    num_tokens: int | None = None,
    num_captions: int | None = None,
) -> Loss:
    """Return the loss of some of a batch's captions; the losses of all parts add up to the batch's.

    Args:
        policy_log_probs_NL: Of the policy being trained, with gradient.
        rollout_log_probs_NL: Of the policy that drew the captions.
        advantages_N: One for each caption.
        mask_NL: 1 for real tokens, the end of the caption included.
        recipe: Aggregation, clip range, KL weight.
        reference_log_probs_NL: Of the model at the start of the stage. None leaves out the KL.
        num_tokens: Real tokens in the whole batch, where this is one part of it
            (aggregation "token"). None counts this part.
        num_captions: Captions in the whole batch (aggregation "sequence").

    Returns:
        The loss; metrics ratio/mean, ratio/max_deviation, clip_share, and kl if it was measured,
        over this part's tokens, whose number is their weight.

    Raises:
        ValueError: If a caption has no token, or the recipe weighs a KL without a reference.
    """
    mask = mask_NL.to(policy_log_probs_NL.dtype)
    lengths_N = mask.sum(dim=1)
    if (lengths_N == 0).any():
        raise ValueError(f"captions without a token: rows {(lengths_N == 0).nonzero().flatten()}")
    if recipe.kl_weight > 0 and reference_log_probs_NL is None:
        raise ValueError(f"kl_weight={recipe.kl_weight} needs the reference's log-probs")

    log_ratio_NL = (policy_log_probs_NL - rollout_log_probs_NL) * mask
    surrogate = clipped_surrogate(
        log_ratio_NL, advantages_N[:, None], recipe.clip_low, recipe.clip_high
    )
    loss_NL = surrogate.loss
    metrics = ratio_metrics(surrogate, mask_NL)
    if reference_log_probs_NL is not None:
        kl_NL = kl_k3(policy_log_probs_NL, reference_log_probs_NL) * mask
        loss_NL = loss_NL + recipe.kl_weight * kl_NL
        metrics["kl"] = (kl_NL.detach().sum() / mask.sum()).item()

    if recipe.aggregation == "token":
        loss = (loss_NL * mask).sum() / (num_tokens or mask.sum())
    else:
        per_caption_N = (loss_NL * mask).sum(dim=1) / lengths_N
        loss = per_caption_N.sum() / (num_captions or len(per_caption_N))
    return Loss(loss, metrics | {"loss": loss.item()}, weight=int(mask.sum()))


def kl_k3(policy_log_probs: Tensor, reference_log_probs: Tensor) -> Tensor:
    """Return exp(d) - d - 1 with d = log_ref - log_policy: unbiased, never negative."""
    log_ratio = reference_log_probs - policy_log_probs
    return log_ratio.exp() - log_ratio - 1
