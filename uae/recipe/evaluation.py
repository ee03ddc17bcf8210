"""Benchmarks and what they are run with. The pipeline's recipe and suites use the same sections."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from uae.recipe.base import Fraction, Positive, SamplerRecipe, Sha256, Strict
from uae.recipe.judges import ChatJudgeRecipe, YesNoJudgeRecipe

BENCHMARKS = ("unified_bench", "geneval", "dpg_bench")  # of a run of the pipeline
PROMPT_FILES = (("geneval", "prompts"), ("geneval", "rewritten"), ("dpg_bench", "prompts"))


class PromptFile(Strict):
    """A benchmark's prompt file, which the user supplies."""

    source: str = Field(min_length=1)  # a path, s3://bucket/key, or an https:// address
    sha256: Sha256 | None  # another content is refused


class UnifiedBenchRecipe(Strict):
    """Caption, paint again from the caption alone, compare."""

    pictures: str = Field(min_length=1)  # "heldout" (of the data), or a folder or s3:// of pictures
    num_samples: Positive  # the first ones; all where there are fewer
    slots: dict[str, str] = Field(min_length=1)  # slot -> scorer: a name in the weights or a folder


class _Prompted(Strict):
    """A benchmark whose prompts are made from known scenes, or are in a file."""

    prompts: Literal["scenes"] | PromptFile  # "scenes": made from the data's benchmark scenes
    num_prompts: Positive | None  # the first ones; None: all of a file

    @model_validator(mode="after")
    def _scenes_are_counted(self) -> Self:
        if self.prompts == "scenes" and self.num_prompts is None:
            raise ValueError("num_prompts: prompts made from scenes need a number, got null")
        return self


class GenevalRecipe(_Prompted):
    """Objects, counts, colours and positions, by a detector."""

    rewritten: PromptFile | None  # longer texts for the same prompts, in their order
    images_per_prompt: Positive
    detector: str  # a name in the weights, or a folder: Mask2Former or SegFormer
    colors: str  # open_clip model in local-dir layout: a scorer's name, or a folder
    vocabulary: Literal["official", "starter"]  # which classes and colours may be asked for


class GenevalPlusRecipe(Strict):
    """GenEval++: a checklist for each prompt, by a vision-language model."""

    prompts: PromptFile
    num_prompts: Positive | None
    judge: ChatJudgeRecipe


class Geneval2Recipe(Strict):
    """GenEval 2: Soft-TIFA from answer probabilities."""

    prompts: PromptFile
    num_prompts: Positive | None
    judge: ChatJudgeRecipe  # must give the probability of a word, not of yes against no alone


class DpgBenchRecipe(_Prompted):
    """A graph of yes/no questions about dense prompts."""

    protocol: Literal["official", "fixed"]
    judge: YesNoJudgeRecipe


class TextFidelityRecipe(_Prompted):
    """Text in pictures: drawn as asked for (read by OCR), and transcribed by the captioner.

    A prompt file holds JSON lines {"prompt"}; the text to draw stands in double quotes.
    """

    upscale_to: Positive  # smaller pictures are enlarged to this side before OCR


class JudgingRecipe(Strict):
    """What all benchmarks of an evaluation have in common."""

    batch_size: Positive  # prompts or pictures at a time: part of the numbers' rounding
    bootstrap_resamples: Positive
    min_self_test_accuracy: Fraction  # of judges on known pictures, or nothing is scored


class EvaluationRecipe(JudgingRecipe):
    """How the model is judged in a run of the pipeline."""

    max_new_tokens: Positive  # of its captions
    temperature: Annotated[float, Field(ge=0)]  # 0 is greedy
    sampler: SamplerRecipe
    unified_bench: UnifiedBenchRecipe
    geneval: GenevalRecipe
    dpg_bench: DpgBenchRecipe


class Benchmarks(Strict):
    """Those that a suite asks for; one that is not named is not run."""

    unified_bench: UnifiedBenchRecipe | None = None
    geneval: GenevalRecipe | None = None
    geneval_plus: GenevalPlusRecipe | None = None
    geneval_2: Geneval2Recipe | None = None
    dpg_bench: DpgBenchRecipe | None = None
    text_fidelity: TextFidelityRecipe | None = None


class SuiteRecipe(JudgingRecipe):
    """Benchmarks for any system: `uae evaluate`."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    seed: Annotated[int, Field(ge=0)]
    num_threads: Positive  # on a CPU it is part of the numbers' rounding
    weights: str  # "starter", or the folder in which names of detectors and scorers are looked up
    data: str  # "starter", or a data set's folder: whose scenes "scenes" and "heldout" mean
    endpoint: str | None  # of the S3 store that s3:// sources are in
    benchmarks: Benchmarks
