"""What a judge's reply says.

As in the published script the verdict is the text from the first brace to the last, so that a code
fence or a sentence around it does no harm. What cannot be read is no verdict: the published script
counts it among the wrong pictures, here it is a state of its own.
"""

import json
from typing import Any, NamedTuple

from uae.evaluation.judges.base import JudgeError

_SHOWN = 200


class Verdict(NamedTuple):
    """Whether a picture holds all that was asked for, and what the judge found missing."""

    correct: bool
    reason: str


def read_verdict(reply: str) -> Verdict | JudgeError:
    """Read {"correct": 0 or 1, "reason": text}.

    Returns:
        The verdict; a `JudgeError` for anything else, such as a refusal, a reply that was cut off,
        a verdict between 0 and 1, or two verdicts.
    """
    start, end = reply.find("{"), reply.rfind("}")
    if start < 0 or end < start:
        return _no_verdict("no JSON object", reply)
    try:
        row = json.loads(reply[start : end + 1], object_pairs_hook=_unique, strict=False)
    except (ValueError, RecursionError) as error:
        return _no_verdict(str(error), reply)
    correct, reason = row.get("correct"), row.get("reason", "")
    if type(correct) not in (int, bool) or correct not in (0, 1):
        return _no_verdict(f"correct must be 0 or 1, got {correct!r}", reply)
    if not isinstance(reason, str):
        return _no_verdict(f"reason must be a text, got {reason!r}", reply)
    return Verdict(bool(correct), reason.strip())


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        raise ValueError(f"a key stands twice: {[key for key, _ in pairs]}")
    return row


def _no_verdict(why: str, reply: str) -> JudgeError:
    shown = reply if len(reply) <= _SHOWN else reply[:_SHOWN] + " ..."
    return JudgeError(f"the reply is no verdict ({why}): {shown!r}")
