"""JSON lines as benchmarks read them: strict, so that no rule or row is lost without a word."""

import json
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from uae.data.sample import BadRow, parse_json
from uae.errors import EvaluationError

Parsed = TypeVar("Parsed")
_SHOWN = 5


def read_json_lines(
    text: str,
    parse: Callable[[dict[str, Any]], Parsed],
    *,
    source: str,
    what: str,
    same: Callable[[Parsed], Hashable] = lambda parsed: parsed,
) -> list[Parsed]:
    """Read one JSON object from each line; blank lines are skipped. Lines end with \\n alone.

    Args:
        text: Content of the file.
        parse: Checks one row; its ValueError, KeyError, TypeError or AttributeError says why not.
        source: Name of the file, for errors.
        what: What a row is, for errors: "a GenEval prompt".
        same: Two rows for which this is equal are one row that stands twice.

    Raises:
        EvaluationError: Naming each line, the first five of them, that is no JSON object, has a key
            twice, is refused by `parse`, or repeats an earlier line.
    """
    found: dict[Hashable, tuple[int, Parsed]] = {}
    faults = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{source}:{number}"
        try:
            parsed = parse(parse_object(line))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            faults.append(f"{where}: not {what}: {error!r}")
            continue
        first, _ = found.setdefault(same(parsed), (number, parsed))
        if first != number:
            faults.append(f"{where}: repeats line {first}")
    if faults:
        more = f"; and {len(faults) - _SHOWN} more wrong lines" if len(faults) > _SHOWN else ""
        raise EvaluationError("; ".join(faults[:_SHOWN]) + more)
    return [parsed for _, parsed in found.values()]


def parse_object(text: str) -> dict[str, Any]:
    """Read one JSON object.

    Raises:
        ValueError: If it is no JSON, no object, has a key twice, or holds what JSON and UTF-8
            cannot: NaN, infinity, half of a surrogate pair.
    """
    try:
        row = parse_json(text.encode(), "")
    except BadRow as error:
        raise ValueError(error.fault.detail) from error
    json.dumps(row, ensure_ascii=False, allow_nan=False).encode()
    return row
