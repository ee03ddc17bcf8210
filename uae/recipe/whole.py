"""The recipe of a run."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from uae.recipe.base import Fraction, Positive, Sha256, Strict, scorer_name
from uae.recipe.captioning import (
    ColdStartRecipe,
    GenerationForUnderstandingRecipe,
    PretrainDecoderRecipe,
)
from uae.recipe.drawing import UnderstandingForGenerationRecipe
from uae.recipe.evaluation import EvaluationRecipe
from uae.recipe.training import EarlyStoppingRecipe, ShardingRecipe


class ModelsRecipe(Strict):
    """Which weights to start from and how the caption conditions the decoder."""

    base: str = Field(min_length=1)  # "starter", or a bundle: a folder, s3://... or hub:...
    manifest: Sha256 | None  # of manifest.json beside the base, which names every file's
    accepted_licences: list[str]  # restricted ones, by the names that the manifest gives them
    condition_source: Literal["reencode_text", "in_context"]
    condition_tokens: Positive | None  # length of every condition; None: the base's
    num_threads: Positive  # of a step's process; on a CPU it is part of the numbers' rounding
    frozen_dtype: Literal["float32", "bfloat16"]  # in which weights are kept that are not trained
    scorer_dtype: Literal["float32", "bfloat16"]  # of scorers that give a loss or reward
    recompute_blocks: bool  # activations of transformer blocks, in the backward pass
    sharding: ShardingRecipe | Literal["replicated"]  # among processes that train together

    @model_validator(mode="after")
    def _computes_as_kept(self) -> Self:
        sharding = self.sharding
        if sharding == "replicated" or sharding.compute == "bfloat16":
            return self
        if self.frozen_dtype == "bfloat16":
            raise ValueError(
                "frozen_dtype: bfloat16 and sharding.compute: float32 contradict each other: "
                "frozen blocks compute in the type that they are kept in; give both the same"
            )
        return self

    @property
    def computes_in_bfloat16(self) -> bool:
        """Whether any block does: then the same captions and steps, batched otherwise, differ."""
        sharding = self.sharding
        return self.frozen_dtype == "bfloat16" or (
            sharding != "replicated" and sharding.compute == "bfloat16"
        )


class StreamingRecipe(Strict):
    """Read samples as they are needed, instead of keeping them and what is computed of them."""

    cache_gib: Annotated[float, Field(gt=0)]  # of shards on each machine's disk
    window_shards: Positive  # shuffled together
    num_workers: Positive  # threads of a process that decode
    num_ahead: Positive  # batches that wait decoded
    on_broken: Literal["error", "replace"]  # a sample that cannot be decoded


class FaultsRecipe(Strict):
    """What a run bears before it ends with an error."""

    max_skipped_updates: Annotated[int, Field(ge=0)]  # a loss or gradient was not finite
    patience_seconds: Positive  # how long the processes wait for one of them


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
    streaming: StreamingRecipe | None


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
    faults: FaultsRecipe
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
        slots = self.evaluation.unified_bench.slots.items()
        return [slot for slot, name in slots if scorer_name(name) not in self.training_scorers]

    @property
    def num_set_aside(self) -> int:
        """Training samples that early stopping may look at, the most of all stages.

        No stage trains on them.
        """
        sections = (self.generation_for_understanding, self.understanding_for_generation)
        asked: list[EarlyStoppingRecipe | None] = [section.early_stopping for section in sections]
        return max((found.num_samples for found in asked if found), default=0)
