"""Which judges compare the captions of two systems, and how."""

from typing import Annotated

from pydantic import Field

from uae.recipe.base import Positive
from uae.recipe.evaluation import JudgingRecipe
from uae.recipe.judges import ChatJudgeRecipe


class PairwiseRecipe(JudgingRecipe):
    """Protocol 2 of Unified-Bench: every judge sees both captions of a picture in both orders."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    seed: Annotated[int, Field(ge=0)]
    num_threads: Positive  # on a CPU it is part of the numbers' rounding
    num_samples: Positive | None  # the first ones; None: all
    judges: dict[str, ChatJudgeRecipe] = Field(min_length=1)  # name -> judge
