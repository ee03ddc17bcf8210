import math

import numpy as np
import pytest

from uae.errors import EvaluationError
from uae.evaluation.dpg_bench.judging import ask, check_on_photographs
from uae.evaluation.judges.base import JudgeError
from uae.evaluation.known_pictures import known_photographs

PICTURES = [np.full((2, 2, 3), index, dtype=np.uint8) for index in range(3)]


class Echo:
    """Answers with the first pixel of the picture that a question is about."""

    identity = {"kind": "echo"}  # noqa: RUF012

    def __init__(self):
        self.calls = []

    def probabilities(self, pictures, questions, picture_of):
        self.calls.append((len(pictures), len(questions)))
        return [float(pictures[index][0, 0, 0]) for index in picture_of]


class Photographs:
    """Knows the photographs; `says` is what it answers instead, by the right answer."""

    def __init__(self, says):
        self.says = says
        self.truth = {
            (photograph.picture.tobytes(), question): answer
            for photograph in known_photographs()
            for question, answer in photograph.questions
        }

    def probabilities(self, pictures, questions, picture_of):
        return [
            self.says(self.truth[pictures[index].tobytes(), question])
            for question, index in zip(questions, picture_of, strict=True)
        ]


def test_answers_join_in_order_and_a_picture_is_given_once_in_a_batch():
    judge = Echo()
    asked = ask(judge, PICTURES, ["?"] * 7, [0, 0, 0, 1, 1, 2, 2], batch_size=4)
    assert asked == [0, 0, 0, 1, 1, 2, 2]
    assert judge.calls == [(2, 4), (2, 3)]
    assert ask(judge, [], [], [], batch_size=4) == []


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_an_answer_that_is_no_number_is_an_error_never_a_no(broken):
    class Broken(Echo):
        def probabilities(self, pictures, questions, picture_of):
            return [broken] * len(questions)

    with pytest.raises(EvaluationError, match="NaN"):
        ask(Broken(), PICTURES, ["?"], [0], batch_size=1)


def test_answers_that_do_not_fit_the_questions_are_an_error():
    class Short(Echo):
        def probabilities(self, pictures, questions, picture_of):
            return [1.0]

    with pytest.raises(EvaluationError, match="1 answers to 2"):
        ask(Short(), PICTURES, ["?", "?"], [0, 1], batch_size=2)


def test_a_judge_of_photographs_is_tested_on_photographs():
    good = check_on_photographs(Photographs(lambda truth: 0.9 if truth else 0.1), batch_size=5)
    assert good.accuracy == 1.0
    roc = good.classification()["roc"]
    assert [0.0, 1.0] in [
        *map(list, zip(*(roc[f"{w}_positive_rate"] for w in ("false", "true")), strict=True))
    ]
    flatterer = check_on_photographs(Photographs(lambda truth: 1.0), batch_size=5)
    assert flatterer.accuracy == 0.5
    with pytest.raises(EvaluationError, match="the judge's answers agree"):
        flatterer.require(0.8)


def test_one_half_is_no():
    undecided = check_on_photographs(Photographs(lambda truth: 0.5), batch_size=5)
    assert undecided.to_json()["groups"] == {"photographs/yes": "0/6", "photographs/no": "6/6"}


def test_a_failed_answer_to_a_known_question_counts_as_wrong_and_is_named():
    silent = check_on_photographs(Photographs(lambda truth: JudgeError("timeout")), batch_size=5)
    assert silent.accuracy == 0.0
    with pytest.raises(EvaluationError, match=r"answers \(12 failed: timeout\) agree"):
        silent.require(0.1)
