"""A test of an answering judge on photographs whose content is known."""

from typing import Any

from uae.evaluation.geneval_2.answers import AnswerJudge, Question, ask, atom_question
from uae.evaluation.geneval_2.prompts import COUNTING, Atom
from uae.evaluation.judges.base import JudgeError
from uae.evaluation.known_pictures import known_photographs
from uae.evaluation.self_test import SelfTest


def known_questions() -> list[tuple[str, Question, bool]]:
    """Return group, question and whether the answer in question is right; pictures in order."""
    cases: list[tuple[str, Question, bool]] = []
    for index, picture in enumerate(known_photographs()):
        for text, expected in picture.questions:
            cases.append(("yes", atom_question(index, Atom(text, "Yes", "object")), expected))
        for answer in ("one", "two"):
            text = f"{COUNTING} {picture.classes[0]}s are in the image?"
            question = atom_question(index, Atom(text, answer, "count"))
            cases.append(("numbers", question, answer == "one"))
    return cases


def self_test(judge: AnswerJudge, minimum: float, batch_size: int) -> dict[str, Any]:
    """Ask a judge about known pictures.

    It agrees with an answer whose probability is above one half; no answer at all counts as a
    disagreement with the truth: a judge that cannot answer must not score.

    Returns:
        The `self_test` and `classification` of a result.

    Raises:
        EvaluationError: If it is right too rarely.
    """
    cases = known_questions()
    pictures = [known.picture for known in known_photographs()]
    found = ask(judge, pictures, [question for _, question, _ in cases], batch_size=batch_size)
    test = SelfTest("the judge's answers")
    errors = []
    for (group, _, expected), p in zip(cases, found, strict=True):
        if isinstance(p, JudgeError):
            errors.append(p.reason)
            test.add(group, expected=expected, answered=not expected)
        else:
            test.add(group, expected=expected, answered=p > 0.5, p_yes=p)
    test.require(minimum)
    return {
        "self_test": test.to_json() | {"no_answer": errors},
        "classification": {"self_test": test.classification()},
    }
