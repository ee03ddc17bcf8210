"""Verdicts that a judge writes as one JSON object, with whatever stands around it."""

import json
from typing import Any

_SHOWN = 200


def object_in_reply(reply: str) -> dict[str, Any]:
    """Read the text from the first brace to the last: a code fence around it does no harm.

    Raises:
        ValueError: If there is no such object, it is no JSON, or a key stands twice in it: which
            of two verdicts is meant cannot be known.
    """
    start, end = reply.find("{"), reply.rfind("}")
    if start < 0 or end < start:
        raise ValueError("no JSON object")
    try:
        row: dict[str, Any] = json.loads(
            reply[start : end + 1], object_pairs_hook=_unique, strict=False
        )
    except RecursionError as error:
        raise ValueError(str(error)) from error
    return row


def no_verdict(why: object, reply: str) -> str:
    """Return what is wrong with a reply, with its beginning."""
    shown = reply if len(reply) <= _SHOWN else reply[:_SHOWN] + " ..."
    return f"the reply is no verdict ({why}): {shown!r}"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        raise ValueError(f"a key stands twice: {[key for key, _ in pairs]}")
    return row
