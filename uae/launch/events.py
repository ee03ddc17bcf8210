"""Lines with which a step tells the command that runs it what happens.

Only a parent that asked for them gets them: elsewhere the record says the same.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["started", "progress", "restored", "succeeded", "failed"]
EVENTS_VARIABLE = "UAE_EVENTS"
MARK = "@uae "


@dataclass(frozen=True)
class Event:
    """Something that happened to a step."""

    kind: Kind
    step: str
    facts: dict[str, Any]


def emit(kind: Kind, step: str, **facts: Any) -> None:
    """Write one event to standard output, on a line of its own, if somebody listens."""
    if os.environ.get(EVENTS_VARIABLE):
        line = json.dumps({"kind": kind, "step": step, **facts})
        print(f"\n{MARK}{line}", file=sys.__stdout__, flush=True)


def parse_event(line: str) -> Event | None:
    """Return the event that a line holds, or None for any other line."""
    text = line.strip()
    if not text.startswith(MARK):
        return None
    try:
        values = json.loads(text.removeprefix(MARK))
    except json.JSONDecodeError:  # a line of somebody else's that begins like ours
        return None
    return Event(values.pop("kind"), values.pop("step"), values)
