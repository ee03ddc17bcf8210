"""Any vision-language model of transformers as a judge: yes/no questions, or answers in words."""

from collections.abc import Sequence
from pathlib import Path

import torch

from uae.evaluation.judges.answers import answer_tokens, first_tokens, p_first_token, p_yes
from uae.evaluation.judges.base import INSTRUCTION, ChatRequest, JudgeError
from uae.evaluation.pictures import Pixels
from uae.evaluation.vision_language import VisionLanguageModel
from uae.models.bundle import bundle_sha
from uae.recipe import VlmJudgeRecipe


class VlmJudge:
    """Asked in its own chat form; both a YesNoJudge and a ChatJudge."""

    def __init__(self, model: VisionLanguageModel, recipe: VlmJudgeRecipe, sha256: str) -> None:
        self._model, self._max_new_tokens = model, recipe.max_new_tokens
        self._tokens = answer_tokens(model.processor.tokenizer)
        self.identity = {
            "kind": "vlm",
            "sha256": sha256,
            "model": type(model.model).__name__,
            "dtype": recipe.dtype,
            "instruction": INSTRUCTION,
            "max_new_tokens": str(recipe.max_new_tokens),
        }

    @classmethod
    def load(cls, recipe: VlmJudgeRecipe, folder: Path, device: torch.device) -> "VlmJudge":
        """Read a judge.

        Raises:
            ModelError: If the folder holds no vision-language model with a chat template, or its
                tokenizer has no token for "yes" or "no".
        """
        model = VisionLanguageModel.load(folder, recipe.dtype, device)
        return cls(model, recipe, bundle_sha(folder))

    def probabilities(
        self, pictures: Sequence[Pixels], questions: Sequence[str], picture_of: Sequence[int]
    ) -> list[float | JudgeError]:
        """Return p(yes) / (p(yes) + p(no)); question q is about `picture_of[q]`.

        Raises:
            EvaluationError: If a probability is not finite.
        """
        if not questions:
            return []
        requests = [
            ChatRequest((pictures[index],), f"{question} {INSTRUCTION}")
            for question, index in zip(questions, picture_of, strict=True)
        ]
        return [*p_yes(self._model.next_logits(requests), self._tokens)]

    def answer_probabilities(
        self,
        pictures: Sequence[Pixels],
        questions: Sequence[str],
        answers: Sequence[Sequence[str]],
        picture_of: Sequence[int],
    ) -> list[float | JudgeError]:
        """Return the probability that a reply's first token begins one of the answer's forms.

        Questions are asked as they stand; see `AnswerJudge` in `uae.evaluation.geneval_2.answers`.

        Raises:
            EvaluationError: If a probability is not finite.
        """
        if not questions:
            return []
        requests = [
            ChatRequest((pictures[index],), question)
            for question, index in zip(questions, picture_of, strict=True)
        ]
        tokenizer = self._model.processor.tokenizer
        tokens = [first_tokens(tokenizer, forms) for forms in answers]
        return [*p_first_token(self._model.next_logits(requests), tokens)]

    def answer(self, requests: Sequence[ChatRequest]) -> list[str | JudgeError]:
        """Return the answer to each request, greedily decoded; an empty one is no verdict."""
        replies = self._model.write(requests, max_new_tokens=self._max_new_tokens)
        return [reply or JudgeError("the model wrote nothing") for reply in replies]
