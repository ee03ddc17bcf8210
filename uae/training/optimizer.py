"""AdamW with warm-up, a schedule and gradient clipping; takes no step that is not finite."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, distributed, nn
from torch.distributed.tensor import DTensor

from uae.recipe import OptimizerRecipe


def learning_rate_factor(step: int, num_updates: int, recipe: OptimizerRecipe) -> float:
    """Return the share of the learning rate that update `step` uses.

    Rises linearly over `warmup_updates` (update 0 already moves), then stays, or falls to 0 at
    `num_updates` along a line or half a cosine.
    """
    if step < recipe.warmup_updates:
        return (step + 1) / (recipe.warmup_updates + 1)
    progress = (step - recipe.warmup_updates) / max(num_updates - recipe.warmup_updates, 1)
    if recipe.schedule == "linear":
        return 1 - progress
    if recipe.schedule == "cosine":
        return (1 + math.cos(math.pi * progress)) / 2
    return 1.0


class Optimizer:
    """AdamW over named parameters. `backward` accumulates, `step` clips and moves."""

    def __init__(
        self, parameters: Mapping[str, nn.Parameter], recipe: OptimizerRecipe, num_updates: int
    ) -> None:
        self._parameters = dict(parameters)
        self._recipe = recipe
        self._num_updates = num_updates
        shared = [p for p in self._parameters.values() if isinstance(p, DTensor)]
        whole = [p for p in self._parameters.values() if not isinstance(p, DTensor)]
        self._adamw = torch.optim.AdamW(
            [{"params": group} for group in (whole, shared) if group],  # two kinds of tensors
            lr=recipe.learning_rate,
            betas=recipe.betas,
            weight_decay=recipe.weight_decay,
        )

    def backward(self, loss: Tensor) -> float:
        """Add the gradient of a scalar loss, and return its value."""
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    def step(self, update: int) -> dict[str, float] | None:
        """Clip the accumulated gradient, move the parameters and clear the gradient.

        Returns:
            `grad_norm` before clipping, and `learning_rate`. None if the gradient is not finite:
            it is cleared, and nothing else has changed.
        """
        norm = _clip(list(self._parameters.values()), self._recipe.max_grad_norm)
        if not math.isfinite(norm):
            self.clear()
            return None
        factor = learning_rate_factor(update, self._num_updates, self._recipe)
        rate = self._recipe.learning_rate * factor
        for group in self._adamw.param_groups:
            group["lr"] = rate
        self._adamw.step()
        self.clear()
        return {"grad_norm": norm, "learning_rate": rate}

    def is_finite(self) -> tuple[bool, bool]:
        """Say whether the accumulated gradient is: of parameters held whole, and of pieces."""
        gradients = [p.grad for p in self._parameters.values() if p.grad is not None]
        pieces = [g.to_local() for g in gradients if isinstance(g, DTensor)]
        whole = [g for g in gradients if not isinstance(g, DTensor)]
        return _are_finite(whole), _are_finite(pieces)

    def clear(self) -> None:
        """Forget the accumulated gradient."""
        self._adamw.zero_grad(set_to_none=True)

    def tensors(self) -> dict[str, Tensor]:
        """Return the moments and counts as `<what>/<parameter>`; empty before the first step."""
        found = {}
        for name, parameter in self._parameters.items():
            for what, value in self._adamw.state[parameter].items():
                found[f"{what}/{name}"] = value
        return found

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what `tensors` returned."""
        for key, value in tensors.items():
            what, name = key.split("/", 1)
            parameter = self._parameters[name]
            place = value.device if what == "step" else parameter.device
            self._adamw.state[parameter][what] = value.to(place).clone()


def _are_finite(tensors: Sequence[Tensor]) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in tensors)


@torch.no_grad()
def _clip(parameters: Sequence[nn.Parameter], max_norm: float) -> float:
    """Scale gradients down to a norm of `max_norm` where it is larger; return what it was.

    Of parameters that are shared out every process holds a piece of the gradient.
    """
    shared = [p.grad.to_local() for p in parameters if isinstance(p.grad, DTensor)]
    if not shared:
        return float(nn.utils.clip_grad_norm_(parameters, max_norm))
    whole = [p.grad for p in parameters if p.grad is not None and not isinstance(p.grad, DTensor)]
    square = nn.utils.get_total_norm(shared) ** 2
    distributed.all_reduce(square)
    norm = torch.sqrt(square + nn.utils.get_total_norm(whole) ** 2)
    scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)  # as torch's clip_grad_norm_
    for gradient in (*shared, *whole):
        gradient.mul_(scale)
    return float(norm)
