"""A judge behind an OpenAI-compatible server: yes/no questions, and answers in words."""

import math
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from uae.errors import EvaluationError
from uae.evaluation.judges.base import INSTRUCTION, ChatRequest, JudgeError
from uae.evaluation.pictures import Pixels
from uae.evaluation.server.chat import ChatModel
from uae.evaluation.server.client import ServerClient
from uae.evaluation.server.faults import RequestFailed
from uae.recipe import ServerJudgeRecipe

_SPACES = " \t\r\n\u2581\u0120\u010a"  # and what tokenizers write for space and line end
_ANSWER = re.compile(
    r"\W*(yes\b(?!\W{0,3}(?:or\W+)?no\b)|no\b(?!\W{0,3}(?:or\W+)?yes\b))", re.IGNORECASE
)
_SHOWN = 120


class ServerJudge:
    """A chat model, asked with temperature 0.

    Its identity cannot hold a hash of the weights: `sha256` is "unknown", and the operator may
    change what answers to the model's name.
    """

    def __init__(self, recipe: ServerJudgeRecipe) -> None:
        """Describe the judge; nothing is sent.

        Raises:
            EvaluationError: If the variable with the key is not set, or the address is wrong.
        """
        self._client = ServerClient(recipe.server)
        self._chat = ChatModel(
            self._client, recipe.model, max_new_tokens=recipe.max_new_tokens, temperature=0.0
        )
        self._log_probs = recipe.log_probs
        self._had_log_probs = False
        self.identity = {
            "kind": "server",
            "sha256": "unknown",
            "server": urlsplit(recipe.server.base_url).hostname or "",  # any port: it may restart
            "model": recipe.model,
            "instruction": INSTRUCTION,
            "max_new_tokens": str(recipe.max_new_tokens),
            "yes_no": "log-probabilities" if recipe.log_probs else "words",
        }

    def probabilities(
        self, pictures: Sequence[Pixels], questions: Sequence[str], picture_of: Sequence[int]
    ) -> list[float | JudgeError]:
        """Return p(yes) / (p(yes) + p(no)) of each question; 1 or 0 without log-probabilities.

        Raises:
            EvaluationError: If the server cannot be used at all, or gives no log-probabilities.
        """
        asked = [
            (pictures[index], question)
            for question, index in zip(questions, picture_of, strict=True)
        ]
        return self._client.each(self._p_yes, asked, JudgeError)

    def answer_probabilities(
        self,
        pictures: Sequence[Pixels],
        questions: Sequence[str],
        answers: Sequence[Sequence[str]],
        picture_of: Sequence[int],
    ) -> list[float | JudgeError]:
        """Return the probability that a reply's first token is one of the answer's forms.

        Questions are asked as they stand; see `AnswerJudge` in `uae.evaluation.geneval_2.answers`.
        A server tells no more than its likeliest tokens: others count as 0.

        Raises:
            EvaluationError: If the server gives no log-probabilities, or is not to be asked for
                them, or cannot be used at all.
        """
        if not self._log_probs:
            raise EvaluationError(
                "how probable an answer is can be read from log-probabilities only: set log_probs "
                "to true"
            )
        asked = [
            (pictures[index], question, forms)
            for question, forms, index in zip(questions, answers, picture_of, strict=True)
        ]
        return self._client.each(self._p_answer, asked, JudgeError)

    def answer(self, requests: Sequence[ChatRequest]) -> list[str | JudgeError]:
        """Return the answer to each request.

        Raises:
            EvaluationError: If the server cannot be used at all.
        """
        return self._client.each(self._words, requests, JudgeError)

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def _words(self, request: ChatRequest) -> str:
        return self._chat.ask(request.pictures, request.text, system=request.system).words

    def _p_yes(self, asked: tuple[Pixels, str]) -> float:
        picture, question = asked
        text = f"{question} {INSTRUCTION}"
        if not self._log_probs:
            return yes_or_no(self._chat.ask([picture], text).words)
        return p_yes(self._first_token(picture, text))

    def _p_answer(self, asked: tuple[Pixels, str, Sequence[str]]) -> float:
        picture, question, forms = asked
        return p_answer(self._first_token(picture, question), forms)

    def _first_token(self, picture: Pixels, text: str) -> dict[str, float]:
        reply = self._chat.ask([picture], text, log_probs=True)
        if reply.first_token is None:
            if self._had_log_probs:
                raise RequestFailed("the answer has no log-probabilities")
            raise EvaluationError(
                f"{self._client.host} gives no log-probabilities with {self.identity['model']!r}: "
                "set log_probs to false, or choose another model"
            )
        self._had_log_probs = True
        return reply.first_token


def p_answer(first_token: dict[str, float], forms: Sequence[str]) -> float:
    """Return the probability of those tokens that are one of an answer's forms."""
    found = 0.0
    for token, log_prob in first_token.items():
        word = token.replace("\u2581", " ").replace("\u0120", " ")
        if word in forms and not math.isnan(log_prob):
            found += math.exp(min(log_prob, 0.0))
    return found


def p_yes(first_token: dict[str, float]) -> float:
    """Return p(yes) / (p(yes) + p(no)) from the log-probabilities of the first token.

    Spellings that differ in case and in spaces around them are one answer. A word that is not
    among the alternatives has no more than the least of them, and counts as 0.

    Raises:
        RequestFailed: If neither word is among them.
    """
    total = {"yes": 0.0, "no": 0.0}
    for token, log_prob in first_token.items():
        word = token.strip(_SPACES).casefold()
        if word in total and not math.isnan(log_prob):
            total[word] += math.exp(min(log_prob, 0.0))
    both = total["yes"] + total["no"]
    if both == 0:
        likeliest = max(first_token, key=lambda token: first_token[token])
        raise RequestFailed(
            f"neither yes nor no is among the first token's alternatives; likeliest is "
            f"{likeliest[:_SHOWN]!r}"
        )
    return total["yes"] / both


def yes_or_no(text: str) -> float:
    """Return 1 for an answer that begins with the word yes, 0 for one that begins with no.

    Raises:
        RequestFailed: If it begins with neither, or with both ("Yes or no").
    """
    found = _ANSWER.match(text)
    if found is None:
        raise RequestFailed(f"the answer is neither yes nor no: {text[:_SHOWN]!r}")
    return 1.0 if found[1].casefold() == "yes" else 0.0
