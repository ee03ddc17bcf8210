"""Values in values, as people read them: one line each, with the names that lead there."""

import json
from collections.abc import Mapping
from typing import Any

MAX_TEXT = 6000  # characters of one text; a judge may have answered without end


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested values by the names that lead to them."""
    found: dict[str, str] = {}
    for key, value in values.items():
        name = f"{prefix} {key}".strip()
        if isinstance(value, Mapping):
            found |= flat(value, name)
        else:
            found[name] = _whole_text(value)
    return found


def as_text(value: Any) -> str:
    """Return a text as it is, nothing for None, lines for names with values, else JSON.

    It is cut, and says so, where it is longer than MAX_TEXT.
    """
    if isinstance(value, Mapping):
        text = "\n".join(f"{name}: {one}" for name, one in flat(value).items())
    else:
        text = _whole_text(value)
    left = len(text) - MAX_TEXT
    return text if left <= 0 else f"{text[:MAX_TEXT]} … ({left} more characters)"


def _whole_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
