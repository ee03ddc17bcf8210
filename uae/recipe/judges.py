"""Which model judges pictures, and how a server is asked. A key never stands in a recipe."""

from typing import Annotated, Literal

from pydantic import Field

from uae.recipe.base import Positive, Strict

Dtype = Literal["float32", "bfloat16", "float16"]


class ServerRecipe(Strict):
    """An OpenAI-compatible server: POST {base_url}/chat/completions, {base_url}/images/generations.

    Timeouts, 429 and 5xx are tried again with back-off; what is still wrong after `max_attempts` is
    the sample's own state.
    """

    # Such as https://api.openai.com/v1. Credentials in it are refused, unseen, by who opens it.
    base_url: str = Field(pattern=r"^https?://\S+[^/\s]$")
    api_key_env: str | None  # name of the environment variable that holds the key; None: no key
    timeout_seconds: Annotated[float, Field(gt=0)]
    max_attempts: Positive
    backoff_seconds: Annotated[float, Field(ge=0)]  # before the second attempt; doubles after each
    concurrency: Positive  # requests at a time


class StarterJudgeRecipe(Strict):
    """A small Qwen2.5-VL in our own layout, asked in the form that it was taught: p(yes)."""

    kind: Literal["starter"]
    path: str  # a folder, or a name in the base weights


class VlmJudgeRecipe(Strict):
    """Any vision-language model of transformers, in `save_pretrained` layout, with a chat template.

    Yes/no questions are answered by the next token's p(yes) / (p(yes) + p(no)).
    """

    kind: Literal["vlm"]
    path: str
    dtype: Dtype
    max_new_tokens: Positive  # of answers in words; yes/no questions take none


class BlipJudgeRecipe(Strict):
    """BLIP-VQA of transformers (BlipForQuestionAnswering); yes/no questions only."""

    kind: Literal["blip_vqa"]
    path: str
    dtype: Dtype


class ServerJudgeRecipe(Strict):
    """A model behind an OpenAI-compatible server."""

    kind: Literal["server"]
    server: ServerRecipe
    model: str = Field(min_length=1)
    max_new_tokens: Positive
    log_probs: bool  # ask for the first token's alternatives: p(yes) instead of 0 or 1


YesNoJudgeRecipe = Annotated[
    StarterJudgeRecipe | VlmJudgeRecipe | BlipJudgeRecipe | ServerJudgeRecipe,
    Field(discriminator="kind"),
]
ChatJudgeRecipe = Annotated[VlmJudgeRecipe | ServerJudgeRecipe, Field(discriminator="kind")]
