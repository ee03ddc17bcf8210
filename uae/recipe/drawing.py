"""Understanding for generation: RL on the decoder."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from uae.recipe.base import Fraction, Positive, Strict
from uae.recipe.captioning import CaptionRolloutRecipe
from uae.recipe.training import EarlyStoppingRecipe, LoraRecipe, TrainedStage


class DrawingRewardsRecipe(Strict):
    """Of drawings: reward = reconstruction cosine. Guards are about captions."""

    scorer: str  # name of an open_clip scorer in the base weights, or a folder


class ImageRolloutRecipe(Strict):
    """G trajectories for each caption; only the window's steps are stochastic and trained."""

    group_size: Annotated[int, Field(ge=2)]
    num_steps: Annotated[int, Field(ge=2)]
    window_size: Positive  # steps trained; num_steps - 1 trains all but the last
    window_start_max: Annotated[int, Field(ge=0)]  # the start is drawn from 0 .. this, per group
    step: Literal["sde", "cps"]
    noise_level: Annotated[float, Field(gt=0)]
    shared_initial_noise: bool
    guidance_scale: Annotated[float, Field(ge=1)]

    @model_validator(mode="after")
    def _window_fits(self) -> Self:
        if self.step == "cps" and self.noise_level > 1:
            raise ValueError(f"noise_level={self.noise_level} with step cps: at most 1, all noise")
        last = self.window_start_max + self.window_size
        if last > self.num_steps - 1:
            raise ValueError(
                f"window_start_max + window_size = {last} must be at most num_steps - 1 = "
                f"{self.num_steps - 1}: the last step has no noise"
            )
        return self


class FlowGrpoRecipe(Strict):
    """Flow-GRPO, arXiv:2505.05470. Clip range in units of a per-element mean log-prob."""

    kind: Literal["flow_grpo"]
    clip_range: Annotated[float, Field(gt=0)]
    kl_weight: Annotated[float, Field(ge=0)]
    max_advantage: Annotated[float, Field(gt=0)]


class GrpoGuardRecipe(Strict):
    """GRPO-Guard: ratio normalised by step."""

    kind: Literal["grpo_guard"]
    clip_range: Annotated[float, Field(gt=0)]
    kl_weight: Annotated[float, Field(ge=0)]
    max_advantage: Annotated[float, Field(gt=0)]


class DiffusionNftRecipe(Strict):
    """DiffusionNFT: contrasts an implicit positive and negative velocity, no log-probs."""

    kind: Literal["diffusion_nft"]
    beta: Annotated[float, Field(gt=0)]
    reference_weight: Annotated[float, Field(ge=0)]
    max_advantage: Annotated[float, Field(gt=0)]
    old_policy_decay: Fraction  # of the slowly updated adapter; 0 copies every update
    num_times: Positive  # training times drawn for each image


DecoderObjective = Annotated[
    FlowGrpoRecipe | GrpoGuardRecipe | DiffusionNftRecipe, Field(discriminator="kind")
]


class UnderstandingForGenerationRecipe(TrainedStage):
    """Flow-GRPO on the decoder; encoder and scorer frozen."""

    lora: LoraRecipe
    rollout: ImageRolloutRecipe
    captions: CaptionRolloutRecipe | Literal["greedy"]  # how the frozen encoder writes
    max_new_tokens: Positive
    rewards: DrawingRewardsRecipe
    objective: DecoderObjective
    ratio_tolerance: Annotated[float, Field(gt=0)]
    early_stopping: EarlyStoppingRecipe | None

    @property
    def scorer_used(self) -> str:
        """See `TrainedStage`."""
        return self.rewards.scorer

    @model_validator(mode="after")
    def _objective_fits_rollout(self) -> Self:
        objective, rollout = self.objective, self.rollout
        if objective.kind == "diffusion_nft":
            if rollout.guidance_scale != 1:
                raise ValueError(
                    f"rollout.guidance_scale={rollout.guidance_scale} with diffusion_nft, which "
                    "trains the velocity without guidance: write 1.0"
                )
        elif self.ratio_tolerance > objective.clip_range / 4:
            raise ValueError(
                f"ratio_tolerance={self.ratio_tolerance} is no check beside objective.clip_range="
                f"{objective.clip_range}: give a quarter of it or less"
            )
        return self
