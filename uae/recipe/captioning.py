"""The stages without rollouts, and generation for understanding."""

from typing import Annotated, Literal

from pydantic import Field

from uae.recipe.base import Positive, SamplerRecipe, Strict
from uae.recipe.training import EarlyStoppingRecipe, LoraRecipe, SupervisedStage, TrainedStage


class PretrainDecoderRecipe(SupervisedStage):
    """Stage 1: flow-matching loss on long captions. `lora: null` trains the whole decoder."""

    lora: LoraRecipe | None
    logit_mean: float  # of the training times' logit-normal, before the scheduler's shift
    logit_std: Annotated[float, Field(gt=0)]


class ColdStartRecipe(SupervisedStage):
    """Semantic reconstruction loss, differentiated through the sampler."""

    encoder_lora: LoraRecipe
    decoder_lora: LoraRecipe
    num_sampling_steps: Positive
    max_new_tokens: Positive  # of the captions that are reconstructed
    scorer: str  # whose features are compared; a name in the base weights, or a folder

    @property
    def scorer_used(self) -> str:
        """See `TrainedStage`."""
        return self.scorer


class CaptionRolloutRecipe(Strict):
    """G captions for each image, at the sampling distribution whose log-probs are kept."""

    group_size: Annotated[int, Field(ge=2)]
    max_new_tokens: Positive
    temperature: Annotated[float, Field(gt=0)]


class LengthGuard(Strict):
    """Penalty when a caption grows beyond `max_ratio` x the base model's length."""

    weight: Annotated[float, Field(ge=0)]
    max_ratio: Annotated[float, Field(gt=1)]


class WeightedGuard(Strict):
    """A guard with nothing but a weight; 0 turns it off."""

    weight: Annotated[float, Field(ge=0)]


class TranscriptionGuard(WeightedGuard):
    """Penalty for text in the picture that the caption quotes wrongly, omits or invents."""

    truth: Literal["facts", "ocr"]  # pictures without facts are free under "facts"

    @property
    def reads_pictures(self) -> bool:
        """Whether the text in the pictures is read from them: needs the extra `ocr`."""
        return self.weight > 0 and self.truth == "ocr"


class RewardsRecipe(Strict):
    """Of captions: reward = weight x reconstruction cosine - guards."""

    scorer: str  # name of an open_clip scorer in the base weights, or a folder
    reconstruction: Annotated[float, Field(gt=0)]
    length: LengthGuard
    transcription: TranscriptionGuard
    repetition: WeightedGuard


class CaptionGrpoRecipe(Strict):
    """GRPO on captions: token-level clipped surrogate."""

    scale_by_std: bool  # False: Dr.GRPO
    aggregation: Literal["token", "sequence"]
    clip_low: Annotated[float, Field(gt=0, lt=1)]
    clip_high: Annotated[float, Field(gt=0)]
    kl_weight: Annotated[float, Field(ge=0)]


class GenerationForUnderstandingRecipe(TrainedStage):
    """GRPO on the captioner; decoder and scorer frozen."""

    lora: LoraRecipe
    rollout: CaptionRolloutRecipe
    sampler: SamplerRecipe
    num_noises: Positive  # reconstructions that score each caption, shared within the group
    condition_adapter: Literal["stage_start", "current"]
    rewards: RewardsRecipe
    objective: CaptionGrpoRecipe
    ratio_tolerance: Annotated[float, Field(gt=0)]
    early_stopping: EarlyStoppingRecipe | None

    @property
    def scorer_used(self) -> str:
        """See `TrainedStage`."""
        return self.rewards.scorer
