"""Which system is under test, and the settings with which it writes and paints."""

from typing import Annotated, Literal

from pydantic import Field

from uae.recipe.base import Positive, SamplerRecipe, Strict
from uae.recipe.judges import Dtype, ServerRecipe

Temperature = Annotated[float, Field(ge=0)]  # 0 is greedy
Name = Annotated[str, Field(min_length=1, max_length=80)]  # as tables show it


class CaptioningRecipe(Strict):
    """How captions are asked for and drawn."""

    prompt: str = Field(min_length=1)
    max_new_tokens: Positive
    temperature: Temperature


class UaeSystemRecipe(Strict):
    """Our own auto-encoder: an export or a bundle."""

    kind: Literal["uae"]
    name: Name
    path: str  # a folder, or "starter"
    max_new_tokens: Positive
    temperature: Temperature
    sampler: SamplerRecipe


class JanusSystemRecipe(Strict):
    """Janus or Janus-Pro of transformers: one autoregressive model for both directions."""

    kind: Literal["janus"]
    name: Name
    path: str
    dtype: Dtype
    captioning: CaptioningRecipe
    guidance_scale: Annotated[float, Field(ge=1)]
    image_temperature: Annotated[float, Field(gt=0)]


class Emu3SystemRecipe(Strict):
    """Emu3 of transformers. Its chat and generation weights are two folders of one class."""

    kind: Literal["emu3"]
    name: Name
    chat_path: str
    generation_path: str  # the same as `chat_path` for one model that does both
    dtype: Dtype
    captioning: CaptioningRecipe
    guidance_scale: Annotated[float, Field(ge=1)]
    image_size: Positive  # side in pixels of what is painted
    top_k: Positive


class ChameleonSystemRecipe(Strict):
    """Chameleon of transformers, which writes captions only: its published weights do not paint."""

    kind: Literal["chameleon"]
    name: Name
    path: str
    dtype: Dtype
    captioning: CaptioningRecipe


class ComposedSystemRecipe(Strict):
    """Any vision-language model of transformers with any text-to-image pipeline of diffusers."""

    kind: Literal["composed"]
    name: Name
    captioner: str | None  # folder; None: it only paints
    painter: str | None  # folder in diffusers' layout; None: it only writes
    dtype: Dtype
    captioning: CaptioningRecipe
    num_steps: Positive
    guidance_scale: Annotated[float, Field(ge=0)]
    image_size: Positive


class ServerSystemRecipe(Strict):
    """Models behind an OpenAI-compatible server."""

    kind: Literal["server"]
    name: Name
    server: ServerRecipe
    chat_model: str | None  # None: it only paints
    image_model: str | None  # None: it only writes
    captioning: CaptioningRecipe
    image_size: str = Field(pattern=r"^\d+x\d+$")  # as the server takes it, such as 1024x1024
    send_seed: bool  # some servers refuse the field `seed`


class FolderSystemRecipe(Strict):
    """Pictures and captions made elsewhere."""

    kind: Literal["folder"]
    name: Name
    path: str
    missing: Literal["refuse", "count"]  # a missing or broken picture: an error, or a state


SystemRecipe = Annotated[
    UaeSystemRecipe
    | JanusSystemRecipe
    | Emu3SystemRecipe
    | ChameleonSystemRecipe
    | ComposedSystemRecipe
    | ServerSystemRecipe
    | FolderSystemRecipe,
    Field(discriminator="kind"),
]
