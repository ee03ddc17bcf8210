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

    dtype: Dtype  # of computing
    stored: Dtype  # of weights that are not trained
    checkpoint_blocks: bool  # recompute the decoder's blocks in the backward pass
    sharding: Sharding  # whose blocks are cut over the processes: the trained models', or all
    caches: Caches  # latents, hidden states and conditions: kept for all samples, or made anew

    def not_built(self) -> list[str]:
        """Return what of this the trainer cannot do yet."""
        wanted = {
            "bfloat16 without sharding": (
                self.dtype == "bfloat16" and self.sharding == "replicated"
            ),
            "frozen weights kept in bfloat16": self.stored == "bfloat16",
            "recomputing the decoder's blocks": self.checkpoint_blocks,
            "data that is streamed instead of kept": self.caches == "streamed",
        }
        return [name for name, is_wanted in wanted.items() if is_wanted]


def execution_of(recipe: Recipe, *, is_published: bool) -> Execution:
    """Return how a recipe is computed.

    Args:
        recipe: Its section `models` says how models are shared out, and in which type they compute.
        is_published: Of published models the rest is what their size needs, built or not; of all
            others it is what the trainer does.
    """
    sharding = recipe.models.sharding
    dtype: Dtype = "float32" if sharding == "replicated" else sharding.compute
    whose: Sharding = "replicated"
    if sharding != "replicated":
        whose = "all" if sharding.frozen == "sharded" else "trained"
    return Execution(
        dtype=dtype,
        stored=dtype if is_published else "float32",
        checkpoint_blocks=is_published,
        sharding=whose,
        caches="streamed" if is_published else "kept",
    )
