"""Recipes: the only configuration. Unknown keys are refused, every value is checked.

A recipe is one YAML file. `uae/recipes/*.yaml` are complete examples: every key stands in them.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from uae.errors import RecipeError

Positive = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
RECIPES_FOLDER = Path(__file__).parent / "recipes"


class Strict(BaseModel):
    """Base of all recipe sections: no unknown key, no change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


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
    betas: tuple[Fraction, Fraction]
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
    num_minibatches: Positive  # optimizer steps for each rollout; 1 for supervised stages
    accumulation_steps: Positive  # backward passes for each optimizer step
    optimizer: OptimizerRecipe
    checkpoint_every: Positive

    @model_validator(mode="after")
    def _batch_divides(self) -> Self:
        parts = self.num_minibatches * self.accumulation_steps
        if self.batch_size % parts:
            raise ValueError(
                f"batch_size={self.batch_size} is not a multiple of num_minibatches x "
                f"accumulation_steps = {parts}"
            )
        return self


class PretrainDecoderRecipe(TrainedStage):
    """Stage 1: flow-matching loss on long captions. `lora: null` trains the whole decoder."""

    lora: LoraRecipe | None
    logit_mean: float  # of the training times' logit-normal, before the scheduler's shift
    logit_std: Annotated[float, Field(gt=0)]


class ColdStartRecipe(TrainedStage):
    """Semantic reconstruction loss, differentiated through the sampler."""

    encoder_lora: LoraRecipe
    decoder_lora: LoraRecipe
    num_sampling_steps: Positive
    max_new_tokens: Positive  # of the captions that are reconstructed
    scorer: str  # whose features are compared; a name in the base weights, or a folder


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


class RewardsRecipe(Strict):
    """reward = weight x reconstruction cosine - guards."""

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
    rewards: RewardsRecipe
    objective: DecoderObjective
    ratio_tolerance: Annotated[float, Field(gt=0)]
    early_stopping: EarlyStoppingRecipe | None


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


def parse_recipe(text: str, *, source: str = "recipe") -> Recipe:
    """Read a recipe from YAML text.

    Raises:
        RecipeError: Naming every wrong key with its value and what is allowed.
    """
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"{source} is not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise RecipeError(f"{source} must be a mapping of sections, got {type(values).__name__}")
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        lines = [_explain(dict(fault)) for fault in error.errors()]
        raise RecipeError(f"{source} is not a valid recipe:\n" + "\n".join(lines)) from error


def load_recipe(name_or_path: str) -> Recipe:
    """Read a shipped recipe by name, or a YAML file by path.

    Raises:
        RecipeError: If there is no such recipe, naming those that exist.
    """
    path = Path(name_or_path)
    if path.suffix not in {".yaml", ".yml"}:
        path = RECIPES_FOLDER / f"{name_or_path}.yaml"
    if not path.is_file():
        known = ", ".join(recipe_names())
        raise RecipeError(f"no recipe {name_or_path!r}: give a .yaml file or one of {known}")
    return parse_recipe(path.read_text(encoding="utf-8"), source=str(name_or_path))


def recipe_names() -> list[str]:
    """Return the names of the shipped recipes."""
    return sorted(path.stem for path in RECIPES_FOLDER.glob("*.yaml"))


def dump_recipe(recipe: Recipe) -> str:
    """Return the recipe as YAML; `parse_recipe` gives back an equal one."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)


def _explain(fault: dict[str, Any]) -> str:
    key = ".".join(str(part) for part in fault["loc"]) or "(whole recipe)"
    if fault["type"] == "extra_forbidden":
        return f"  {key}: unknown key (value {fault['input']!r}); remove it or correct its name"
    if fault["type"] == "missing":
        return f"  {key}: missing; every key must be given"
    shown = "" if isinstance(fault["input"], dict) else f", got {fault['input']!r}"
    return f"  {key}: {fault['msg']}{shown}"
