"""What a judge's reply says.

As in the published script the verdict is the text from the first brace to the last, so that a code
fence or a sentence around it does no harm. What cannot be read is no verdict: the published script
counts it among the wrong pictures, here it is a state of its own.
"""

from typing import NamedTuple

from uae.evaluation.judges.base import JudgeError
from uae.evaluation.judges.json_replies import no_verdict, object_in_reply


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
    try:
        row = object_in_reply(reply)
    except ValueError as error:
        return JudgeError(no_verdict(error, reply))
    correct, reason = row.get("correct"), row.get("reason", "")
    if type(correct) not in (int, bool) or correct not in (0, 1):
        return JudgeError(no_verdict(f"correct must be 0 or 1, got {correct!r}", reply))
    if not isinstance(reason, str):
        return JudgeError(no_verdict(f"reason must be a text, got {reason!r}", reply))
    return Verdict(bool(correct), reason.strip())
