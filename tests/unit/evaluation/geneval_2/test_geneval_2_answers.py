import numpy as np
import pytest

from uae.errors import EvaluationError
from uae.evaluation.geneval_2.answers import Question, ask, atom_question
from uae.evaluation.geneval_2.prompts import Atom
from uae.evaluation.judges.base import JudgeError

PICTURES = [np.full((4, 4, 3), value, np.uint8) for value in (10, 20, 30)]


class Recorder:
    """Answers with the grey of the picture in hundredths, and keeps what it was asked."""

    def __init__(self, answer=None):
        self.identity = {"kind": "recorder"}
        self.asked, self.answer = [], answer

    def answer_probabilities(self, pictures, questions, answers, picture_of):
        self.asked.append((len(pictures), [*questions], [*answers], [*picture_of]))
        if self.answer is not None:
            return self.answer
        return [float(pictures[index][0, 0, 0]) / 100 for index in picture_of]


def test_questions_go_in_batches_with_the_pictures_they_need():
    questions = [Question(picture, f"q{i}", ("Yes",)) for i, picture in enumerate([0, 0, 1, 2, 2])]
    judge = Recorder()
    assert ask(judge, PICTURES, questions, batch_size=3) == [0.1, 0.1, 0.2, 0.3, 0.3]
    assert judge.asked == [
        (2, ["q0", "q1", "q2"], [("Yes",)] * 3, [0, 0, 1]),
        (1, ["q3", "q4"], [("Yes",)] * 2, [0, 0]),
    ]


def test_an_atom_is_asked_in_the_published_form():
    asked = atom_question(1, Atom("Are there any pigs in the image?", "Yes", "object"))
    assert asked.text == "Are there any pigs in the image? Answer in one word."
    assert (asked.picture, asked.forms) == (1, ("Yes", "yes", " yes", " Yes"))


def test_no_question_asks_nothing():
    judge = Recorder()
    assert ask(judge, [], [], batch_size=3) == []
    assert judge.asked == []


def test_an_error_of_the_judge_stays_one():
    error = JudgeError("timeout")
    assert ask(Recorder([error]), PICTURES, [Question(0, "q", ("Yes",))], batch_size=1) == [error]


def test_rounding_above_one_is_one():
    assert ask(Recorder([1.00001]), PICTURES, [Question(0, "q", ("Yes",))], batch_size=1) == [1.0]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.1, 1.1])
def test_what_is_no_probability_is_no_answer(value):
    with pytest.raises(EvaluationError, match="as a probability"):
        ask(Recorder([value]), PICTURES, [Question(0, "q", ("Yes",))], batch_size=1)


def test_too_few_answers_are_refused():
    with pytest.raises(EvaluationError, match="0 answers to 1 questions"):
        ask(Recorder([]), PICTURES, [Question(0, "q", ("Yes",))], batch_size=1)
