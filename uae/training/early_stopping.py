"""Stop when the reward on samples set aside has not risen for a while; keep the best weights."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from uae.recipe import EarlyStoppingRecipe


class EarlyStopping:
    """Remembers the best reward and the tensors that reached it."""

    def __init__(self, recipe: EarlyStoppingRecipe) -> None:
        self._recipe = recipe
        self.best_reward: float | None = None
        self.best_update = 0
        self.best: dict[str, Tensor] = {}
        self._without_best = 0

    def observe(self, reward: float, num_updates_done: int, tensors: Mapping[str, Tensor]) -> None:
        """Take note of a measurement of these tensors; they are copied when they are the best."""
        if self.best_reward is None or reward > self.best_reward:
            self.best_reward, self.best_update = reward, num_updates_done
            self.best = {name: value.detach().clone() for name, value in tensors.items()}
            self._without_best = 0
        else:
            self._without_best += 1

    @property
    def should_stop(self) -> bool:
        """Whether `patience` measurements in a row brought no new best."""
        return self._without_best >= self._recipe.patience

    def values(self) -> dict[str, Any]:
        """Return everything but the tensors, as JSON."""
        return {
            "best_reward": self.best_reward,
            "best_update": self.best_update,
            "without_best": self._without_best,
        }

    def load(self, values: Mapping[str, Any], best: Mapping[str, Tensor]) -> None:
        """Take over what `values` returned and the best tensors."""
        self.best_reward = values["best_reward"]
        self.best_update = values["best_update"]
        self._without_best = values["without_best"]
        self.best = {name: value.clone() for name, value in best.items()}
