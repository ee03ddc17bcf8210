"""A yes/no judge of starter pictures that compares them with the artwork: no learned model.

It reads a picture back into facts (`uae.data.starter.reader`) and looks the claim up. It answers
only the starter domain's questions. Its name is stamped into results, and comparisons across
judges are refused.
"""

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from uae.data.starter.reader import read_scene
from uae.data.starter.vocabulary import IMAGE_SIZE
from uae.errors import EvaluationError
from uae.evaluation.claims import VALUES, Claim
from uae.evaluation.pictures import Pixels


class ArtworkJudge:
    """Answers with certainty: p(yes) is 0 or 1."""

    KIND = "artwork-reader"

    @property
    def identity(self) -> dict[str, str]:
        """What answers."""
        return {"kind": self.KIND, "version": "1"}

    def probabilities(
        self, pictures: Sequence[Pixels], questions: Sequence[str], picture_of: Sequence[int]
    ) -> Tensor:
        """Return 1 for yes and 0 for no, (Q,); question q is about `picture_of[q]`.

        Raises:
            EvaluationError: If a question is not the starter domain's, or a picture not 64 x 64.
        """
        known = _claims()
        for picture in pictures:
            if picture.shape[:2] != (IMAGE_SIZE, IMAGE_SIZE):
                raise EvaluationError(
                    f"the artwork judge reads {IMAGE_SIZE} x {IMAGE_SIZE} pictures, got "
                    f"{picture.shape[1]} x {picture.shape[0]}: give the recipe a learned judge"
                )
        unknown = [question for question in questions if question not in known]
        if unknown:
            raise EvaluationError(
                f"the artwork judge cannot answer {unknown[0]!r}: it is not a starter question"
            )
        scenes = [read_scene(picture) for picture in pictures]
        answers = [
            known[question].holds(scenes[index])
            for question, index in zip(questions, picture_of, strict=True)
        ]
        return torch.tensor(answers, dtype=torch.float32)


@cache
def _claims() -> dict[str, Claim]:
    claims: list[Claim] = []
    for kind, values in VALUES.items():
        names = [""] if kind in ("entity", "background", "word") else VALUES["entity"]
        claims += [Claim(kind, value, name) for value in values for name in names]
    return {claim.question: claim for claim in claims}
