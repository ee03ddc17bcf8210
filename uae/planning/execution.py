"""How a recipe's numbers are computed: what decides memory and time beside the recipe's sizes."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from uae.recipe import Recipe

Dtype = Literal["float32", "bfloat16"]
Sharding = Literal["replicated", "trained", "all"]
Caches = Literal["kept", "streamed"]


class Execution(BaseModel):
    """Precision, recomputation, what is cut over the processes, and what is kept in memory."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dtype: Dtype  # in which blocks compute
    stored: Dtype  # of blocks that are not trained
    scorer: Dtype  # of scorers that give a loss or reward
    recompute_blocks: bool  # in the backward pass
    sharding: Sharding  # whose blocks are cut over the processes: the trained models', or all
    caches: Caches  # latents, hidden states and conditions: kept for all samples, or made anew

    def contradiction(self) -> str | None:
        """Return why no trainer computes like this, if so."""
        if (self.dtype, self.stored) == ("float32", "bfloat16"):
            return "frozen blocks that are kept in bfloat16 compute in it, not in float32"
        if self.dtype != self.stored and self.sharding == "replicated":
            return "without sharding blocks compute in the type that they are kept in"
        return None


def execution_of(recipe: Recipe) -> Execution:
    """Return how a recipe is computed, by its sections `models` and `data`."""
    models, sharding = recipe.models, recipe.models.sharding
    whose: Sharding = "replicated"
    if sharding != "replicated":
        whose = "all" if sharding.frozen == "sharded" else "trained"
    return Execution(
        dtype=models.frozen_dtype if sharding == "replicated" else sharding.compute,
        stored=models.frozen_dtype,
        scorer=models.scorer_dtype,
        recompute_blocks=models.recompute_blocks,
        sharding=whose,
        caches="kept" if recipe.data.streaming is None else "streamed",
    )
