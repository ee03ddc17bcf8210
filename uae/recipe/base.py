"""What all sections of recipes are made of."""

from pathlib import PurePath
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Decay = Annotated[float, Field(ge=0, lt=1)]  # 1 would never forget


class Strict(BaseModel):
    """Base of all recipe sections: no unknown key, no conversion, no change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class SamplerRecipe(Strict):
    """Sampling with the probability-flow ODE."""

    num_steps: Positive
    guidance_scale: Annotated[float, Field(ge=1)]  # 1 is no classifier-free guidance


def scorer_name(name_or_path: str) -> str:
    """Return a scorer's name, the last part of its folder's."""
    return PurePath(name_or_path).name
