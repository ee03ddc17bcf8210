import pytest

from uae.evaluation.geneval_plus.verdicts import Verdict, read_verdict
from uae.evaluation.judges.base import JudgeError

READ = {
    '{"correct": 1, "reason": "all there"}': Verdict(True, "all there"),
    '{"correct": 0, "reason": " one kite too many "}': Verdict(False, "one kite too many"),
    '{"reason": "", "correct": 0}': Verdict(False, ""),
    '{"correct": 1}': Verdict(True, ""),
    '{"correct": true, "reason": ""}': Verdict(True, ""),
    '{"correct": false, "reason": ""}': Verdict(False, ""),
    '```json\n{"correct": 0, "reason": "no cat"}\n```': Verdict(False, "no cat"),
    '```\n{"correct": 1, "reason": ""}\n```\n': Verdict(True, ""),
    'My verdict: {"correct": 0, "reason": "no {red} cat"}.': Verdict(False, "no {red} cat"),
    '{"correct": 0, "reason": "two\nlines"}': Verdict(False, "two\nlines"),
}


@pytest.mark.parametrize("reply", READ)
def test_a_verdict_is_read(reply):
    assert read_verdict(reply) == READ[reply]


NO_VERDICT = {
    "": "no JSON object",
    "I'm sorry, I can't help with that.": "no JSON object",
    "yes": "no JSON object",
    "1": "no JSON object",
    "} {": "no JSON object",
    '{"correct": 1, "reason": "the reply was cut o': "no JSON object",
    "{correct: 1}": "Expecting property name",
    '{"correct": 1} {"correct": 0}': "Extra data",
    '{"correct": 1, "correct": 0}': "a key stands twice",
    '{"reason": "all there"}': "correct must be 0 or 1, got None",
    '{"correct": "1", "reason": ""}': "correct must be 0 or 1, got '1'",
    '{"correct": 0.5, "reason": ""}': "correct must be 0 or 1, got 0.5",
    '{"correct": 2, "reason": ""}': "correct must be 0 or 1, got 2",
    '{"correct": -1, "reason": ""}': "correct must be 0 or 1, got -1",
    '{"correct": [1], "reason": ""}': "correct must be 0 or 1, got [1]",
    '{"correct": 1, "reason": 3}': "reason must be a text, got 3",
    '{"a":' * 5000 + "1" + "}" * 5000: "recursion",
}


@pytest.mark.parametrize("reply", NO_VERDICT, ids=lambda reply: reply[:40])
def test_anything_else_is_no_verdict(reply):
    found = read_verdict(reply)
    assert isinstance(found, JudgeError)
    assert NO_VERDICT[reply] in found.reason


def test_a_long_reply_is_shown_in_part():
    found = read_verdict("no " * 1000)
    assert isinstance(found, JudgeError)
    assert len(found.reason) < 300
