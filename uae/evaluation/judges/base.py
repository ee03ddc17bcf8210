"""What a judge is: it answers yes/no questions, or writes an answer in words."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from uae.evaluation.pictures import Pixels

INSTRUCTION = "Answer with yes or no."  # behind every yes/no question in a chat


class JudgeError(NamedTuple):
    """No verdict, and why: a timeout, a refusal, an answer that is not what was asked for.

    The sample is in the state "judge_error": neither right nor wrong.
    """

    reason: str


class YesNoJudge(Protocol):
    """Answers yes/no questions about pictures."""

    @property
    def identity(self) -> dict[str, str]:
        """What answers: stamped into results; results of different judges are never compared."""
        ...

    def probabilities(
        self, pictures: Sequence[Pixels], questions: Sequence[str], picture_of: Sequence[int]
    ) -> list[float | JudgeError]:
        """Return p(yes) / (p(yes) + p(no)) of each question.

        Args:
            pictures: 8-bit RGB, of any size.
            questions: Q texts.
            picture_of: For each question, the index of its picture.
        """
        ...


class ChatRequest(NamedTuple):
    """A question in words about any number of pictures, which stand before it."""

    pictures: tuple[Pixels, ...]
    text: str
    system: str = ""  # instruction before the conversation; "" for none


class ChatJudge(Protocol):
    """Answers in words."""

    @property
    def identity(self) -> dict[str, str]:
        """What answers; stamped into results."""
        ...

    def answer(self, requests: Sequence[ChatRequest]) -> list[str | JudgeError]:
        """Return the answer to each request, greedily decoded."""
        ...
