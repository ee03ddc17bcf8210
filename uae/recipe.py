"""Recipes: the only configuration. Unknown keys are refused, every value is checked.

A recipe is one YAML file. `uae/recipes/*.yaml` are complete examples: every key stands in them.
"""

from pathlib import PurePath
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

Positive = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]  # 1 would never forget


class Strict(BaseModel):
    """Base of all recipe sections: no unknown key, no conversion, no change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class ModelsRecipe(Strict):
    """Which weights to start from and how the caption conditions the decoder."""

    base: str = Field(min_length=1)  # "starter", or a folder in the bundle layout
    condition_source: Literal["reencode_text", "in_context"]
    num_threads: Positive  # of a step's process; on a CPU it is part of the numbers' rounding


class DataRecipe(Strict):
    """What a data set must fulfil, and how it is split."""

    image_size: Positive  # training pictures are centre-cropped and resized to this side
    min_side_pixels: Positive
    max_side_pixels: Positive
    max_file_bytes: Positive
    min_caption_words: Positive
    max_caption_characters: Positive
    allowed_licences: list[str] = Field(min_length=1)
    heldout_fraction: Annotated[float, Field(gt=0, lt=1)]  # only where rows name no split


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


class SamplerRecipe(Strict):
    """Sampling with the probability-flow ODE."""

    num_steps: Positive
    guidance_scale: Annotated[float, Field(ge=1)]  # 1 is no classifier-free guidance


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


class EvaluationRecipe(Strict):
    """How the model is judged after every stage."""

    num_samples: Positive
    batch_size: Positive
    max_new_tokens: Positive
    temperature: Annotated[float, Field(ge=0)]  # 0 is greedy
    sampler: SamplerRecipe
    slots: dict[str, str] = Field(min_length=1)  # Unified-Bench slot -> scorer
    bootstrap_resamples: Positive
    geneval_prompts: Positive
    geneval_images_per_prompt: Positive
    dpg_prompts: Positive
    dpg_protocol: Literal["official", "fixed"]
    min_self_test_accuracy: Fraction  # of detector and judge on known pictures, or no scoring


class GateRecipe(Strict):
    """When a candidate may be promoted. Points are Unified-Bench points, 0 to 100."""

    min_overall: float
    max_slot_regression: Annotated[float, Field(ge=0)]  # points below the champion, each slot
    max_text_fidelity_drop: Fraction
    require_gain_over_stage_1: bool


class Recipe(Strict):
    """Everything that decides a run's result."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    seed: Annotated[int, Field(ge=0)]
    models: ModelsRecipe
    data: DataRecipe
    pretrain_decoder: PretrainDecoderRecipe
    cold_start: ColdStartRecipe
    generation_for_understanding: GenerationForUnderstandingRecipe
    understanding_for_generation: UnderstandingForGenerationRecipe
    evaluation: EvaluationRecipe
    gate: GateRecipe

    @property
    def training_scorers(self) -> frozenset[str]:
        """Names of the scorers that gave a stage its loss or reward; a folder's last part."""
        stages = (
            self.pretrain_decoder,
            self.cold_start,
            self.generation_for_understanding,
            self.understanding_for_generation,
        )
        return frozenset(scorer_name(s.scorer_used) for s in stages if s.scorer_used is not None)

    @property
    def heldout_slots(self) -> list[str]:
        """Unified-Bench slots whose scorer no stage was trained with: what learning is judged by.

        A folder whose name is that of a training scorer counts as that scorer.
        """
        slots = self.evaluation.slots.items()
        return [slot for slot, name in slots if scorer_name(name) not in self.training_scorers]

    @property
    def num_set_aside(self) -> int:
        """Training samples that early stopping may look at, the most of all stages.

        No stage trains on them.
        """
        sections = (self.generation_for_understanding, self.understanding_for_generation)
        asked: list[EarlyStoppingRecipe | None] = [section.early_stopping for section in sections]
        return max((found.num_samples for found in asked if found), default=0)


def scorer_name(name_or_path: str) -> str:
    """Return a scorer's name, the last part of its folder's."""
    return PurePath(name_or_path).name
