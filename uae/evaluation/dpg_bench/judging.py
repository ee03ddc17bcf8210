"""Asking the judge, and testing it on pictures with known answers before it may judge anything."""

import math
import random
from collections.abc import Sequence
from typing import NamedTuple

from uae.data.facts import SceneFacts
from uae.errors import EvaluationError
from uae.evaluation.benchmark_scenes import scene_picture
from uae.evaluation.claims import CATEGORIES, false_claims, true_claims
from uae.evaluation.judges.base import JudgeError, YesNoJudge
from uae.evaluation.known_pictures import known_photographs
from uae.evaluation.pictures import Pixels
from uae.evaluation.self_test import SelfTest
from uae.seeds import derive_seed

THRESHOLD = 0.5  # "yes" above it: a judge that cannot tell says no


class Asked(NamedTuple):
    """A question whose answer is known."""

    group: str
    picture: int
    question: str
    expected: bool


def ask(
    judge: YesNoJudge,
    pictures: Sequence[Pixels],
    questions: Sequence[str],
    picture_of: Sequence[int],
    *,
    batch_size: int,
) -> list[float | JudgeError]:
    """Return p(yes) of each question, asking `batch_size` at a time.

    Args:
        judge: Who answers.
        pictures: What is asked about; a batch is given only those that its questions are about.
        questions: Q texts.
        picture_of: For each question, the index of its picture; neighbours should share one.
        batch_size: Questions at a time.

    Raises:
        EvaluationError: If a probability is not finite: that is never a "no".
    """
    answers: list[float | JudgeError] = []
    for start in range(0, len(questions), batch_size):
        part = slice(start, start + batch_size)
        needed = sorted(set(picture_of[part]))
        place = {picture: position for position, picture in enumerate(needed)}
        answers += judge.probabilities(
            [pictures[picture] for picture in needed],
            questions[part],
            [place[picture] for picture in picture_of[part]],
        )
    if len(answers) != len(questions):
        raise EvaluationError(f"the judge gave {len(answers)} answers to {len(questions)}")
    if not all(math.isfinite(p) for p in answers if not isinstance(p, JudgeError)):
        raise EvaluationError("the judge's probabilities hold NaN: its weights are broken")
    return answers


def check_on_scenes(
    judge: YesNoJudge, scenes: Sequence[SceneFacts], *, seed: int, batch_size: int
) -> SelfTest:
    """Ask every true claim about each drawn scene, and as many false ones."""
    rng = random.Random(derive_seed(seed, "dpg-bench", "self-test"))
    cases = []
    for index, facts in enumerate(scenes):
        for claims, expected in ((true_claims(facts), True), (false_claims(facts, rng), False)):
            cases += [Asked(CATEGORIES[c.kind], index, c.question, expected) for c in claims]
    return _check(judge, [scene_picture(facts) for facts in scenes], cases, batch_size)


def check_on_photographs(judge: YesNoJudge, *, batch_size: int) -> SelfTest:
    """Ask the known questions about the shipped photographs."""
    known = known_photographs()
    cases = [
        Asked("photographs", index, question, expected)
        for index, photograph in enumerate(known)
        for question, expected in photograph.questions
    ]
    return _check(judge, [photograph.picture for photograph in known], cases, batch_size)


def _check(
    judge: YesNoJudge, pictures: Sequence[Pixels], cases: Sequence[Asked], batch_size: int
) -> SelfTest:
    answers = ask(
        judge,
        pictures,
        [case.question for case in cases],
        [case.picture for case in cases],
        batch_size=batch_size,
    )
    failures = [answer.reason for answer in answers if isinstance(answer, JudgeError)]
    failed = f" ({len(failures)} failed: {failures[0]})" if failures else ""
    check = SelfTest(f"the judge's answers{failed}")
    for case, answer in zip(cases, answers, strict=True):
        if isinstance(answer, JudgeError):  # no answer to a known question is a wrong one
            check.add(case.group, expected=case.expected, answered=not case.expected)
        else:
            yes = answer > THRESHOLD
            check.add(case.group, expected=case.expected, answered=yes, p_yes=answer)
    return check
