"""A test of a checklist judge on photographs whose content is known."""

from typing import Any

from uae.evaluation.geneval_plus.checklist import request
from uae.evaluation.geneval_plus.prompts import Exclude, Include, Prompt
from uae.evaluation.geneval_plus.verdicts import read_verdict
from uae.evaluation.judges.base import ChatJudge, JudgeError
from uae.evaluation.known_pictures import KnownPicture, known_photographs
from uae.evaluation.self_test import SelfTest

Case = tuple[str, Prompt, KnownPicture, bool]  # group, prompt, picture, whether it holds


def known_cases() -> list[Case]:
    """Return true and false checklists: what is there, and how often."""
    cases: list[Case] = []
    for picture in known_photographs():
        there = picture.classes[0]
        for name in (there, *picture.absent):
            prompt = Prompt(
                "multi_object_count_attr", f"A photo of one {name}", (Include(name, 1),)
            )
            cases.append(("objects", prompt, picture, name == there))
        for count, text in ((1, f"A photo of one {there}"), (2, f"A photo of two {there}s")):
            exclude = (Exclude(there, count + 1),)
            prompt = Prompt("counting", text, (Include(there, count),), exclude)
            cases.append(("counts", prompt, picture, count == 1))
    return cases


def self_test(judge: ChatJudge, minimum: float, batch_size: int) -> dict[str, Any]:
    """Ask a judge about known pictures.

    A reply that is no verdict counts as a disagreement: a judge that cannot answer must not score.

    Returns:
        The `self_test` and `classification` of a result.

    Raises:
        EvaluationError: If it is right too rarely.
    """
    cases = known_cases()
    requests = [request(prompt, picture.picture) for _, prompt, picture, _ in cases]
    replies: list[str | JudgeError] = []
    for start in range(0, len(requests), batch_size):
        replies += judge.answer(requests[start : start + batch_size])
    test = SelfTest("the judge's verdicts")
    errors = []
    for (group, _, _, expected), reply in zip(cases, replies, strict=True):
        verdict = reply if isinstance(reply, JudgeError) else read_verdict(reply)
        if isinstance(verdict, JudgeError):
            errors.append(verdict.reason)
            test.add(group, expected=expected, answered=not expected)
        else:
            test.add(group, expected=expected, answered=verdict.correct)
    test.require(minimum)
    return {
        "self_test": test.to_json() | {"no_verdict": errors},
        "classification": {"self_test": test.classification()},
    }
