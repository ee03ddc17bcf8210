"""What every trained stage has in common."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from uae.recipe.base import Decay, Positive, Strict


class LoraRecipe(Strict):
    """A low-rank adapter. Dropout is 0 by construction: the ratio must start at 1."""

    rank: Positive
    alpha: Annotated[float, Field(gt=0)]


class OptimizerRecipe(Strict):
    """AdamW with warm-up, a schedule, gradient clipping and an optional EMA."""

    learning_rate: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)]
    betas: Annotated[tuple[Decay, Decay], Field(strict=False)]  # YAML has lists alone
    max_grad_norm: Annotated[float, Field(gt=0)]
    warmup_updates: Annotated[int, Field(ge=0)]
    schedule: Literal["constant", "linear", "cosine"]
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None
    ema_every: Positive


class ShardingRecipe(Strict):
    """Each process keeps a piece of every block's weights, and gathers a block while it computes.

    This holds for the model that a stage trains.
    """

    frozen: Literal["replicated", "sharded"]  # the model that a stage does not train
    compute: Literal["float32", "bfloat16"]  # of gathered blocks; what is kept is float32


class EarlyStoppingRecipe(Strict):
    """Stop when the reward on samples set aside has not risen; keep the best weights."""

    every: Positive  # updates between measurements
    patience: Positive  # measurements without a new best
    num_samples: Positive  # of the training split, a tenth of it at most; no update sees them


class TrainedStage(Strict):
    """What every trained stage has."""

    num_updates: Annotated[int, Field(ge=0)]
    batch_size: Positive  # samples in an update: pairs, or images whose captions are rolled out
    num_minibatches: Positive  # optimizer steps for each rollout
    accumulation_steps: Positive  # backward passes for each optimizer step
    optimizer: OptimizerRecipe
    checkpoint_every: Positive

    @property
    def scorer_used(self) -> str | None:
        """The scorer that gives the stage's loss or reward, if one does."""
        return None

    @model_validator(mode="after")
    def _batch_divides(self) -> Self:
        parts = self.num_minibatches * self.accumulation_steps
        if self.batch_size % parts:
            raise ValueError(
                f"batch_size={self.batch_size} is not a multiple of num_minibatches x "
                f"accumulation_steps = {parts}"
            )
        return self


class SupervisedStage(TrainedStage):
    """A stage without rollouts."""

    @field_validator("num_minibatches")
    @classmethod
    def _has_no_rollout(cls, value: int) -> int:
        if value != 1:
            raise ValueError("must be 1 where there is no rollout to divide; raise num_updates")
        return value
