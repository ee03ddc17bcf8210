"""What GenEval 2 asks a judge: how probable is the right answer?

Other than p(yes) / (p(yes) + p(no)), this is a share of all replies, and answers may be numbers.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from uae.errors import EvaluationError
from uae.evaluation.geneval_2.prompts import Atom, answer_forms
from uae.evaluation.judges.base import JudgeError
from uae.evaluation.pictures import Pixels

SUFFIX = "Answer in one word."  # part of the published protocol
_ROUNDING = 1e-3  # sums of many float probabilities may exceed 1 by as much


class AnswerJudge(Protocol):
    """Says how probable it is that its reply begins with a given answer."""

    @property
    def identity(self) -> dict[str, str]:
        """What answers; stamped into results."""
        ...

    def answer_probabilities(
        self,
        pictures: Sequence[Pixels],
        questions: Sequence[str],
        answers: Sequence[Sequence[str]],
        picture_of: Sequence[int],
    ) -> list[float | JudgeError]:
        """Return, for each question, the probability of its answer.

        The question is asked as it stands, after its picture, in one turn of the user. The
        probability is that of the reply's first token, softmax over the whole vocabulary, summed
        over the distinct first tokens of the answer's forms, which are tokenised on their own
        without special tokens.

        Args:
            pictures: 8-bit RGB, of any size.
            questions: Q texts.
            answers: For each question, the forms of its answer, such as ("Yes", "yes", " yes").
            picture_of: For each question, the index of its picture.
        """
        ...


class Question(NamedTuple):
    """A question about one picture of a batch, and the forms of the answer in question."""

    picture: int
    text: str
    forms: tuple[str, ...]


def atom_question(picture: int, atom: Atom) -> Question:
    """Return what is asked about an atom of a prompt."""
    return Question(picture, f"{atom.question} {SUFFIX}", answer_forms(atom.question, atom.answer))


def ask(
    judge: AnswerJudge,
    pictures: Sequence[Pixels],
    questions: Sequence[Question],
    *,
    batch_size: int,
) -> list[float | JudgeError]:
    """Return the probability of each question's answer, asking `batch_size` at a time.

    Raises:
        EvaluationError: If something is no probability: that is never a wrong answer.
    """
    found: list[float | JudgeError] = []
    for start in range(0, len(questions), batch_size):
        part = questions[start : start + batch_size]
        needed = sorted({question.picture for question in part})
        found += judge.answer_probabilities(
            [pictures[picture] for picture in needed],
            [question.text for question in part],
            [question.forms for question in part],
            [needed.index(question.picture) for question in part],
        )
    if len(found) != len(questions):
        raise EvaluationError(f"the judge gave {len(found)} answers to {len(questions)} questions")
    return [p if isinstance(p, JudgeError) else _probability(p) for p in found]


def _probability(value: float) -> float:
    if not np.isfinite(value) or not 0 <= value <= 1 + _ROUNDING:
        raise EvaluationError(f"the judge gave {value} as a probability: its weights are broken")
    return min(value, 1.0)
