"""GenEval's prompt files.

The official file is JSON lines: {"tag", "include": [{"class", "count", "color"?, "position"?}],
"exclude"?: [{"class", "count"}], "prompt"}. Prompts from known scenes: `uae.data.starter.prompts`.
"""

import itertools
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from uae.data.geneval import RELATIONS, TASKS, Exclude, Include, Prompt
from uae.errors import EvaluationError


def read_prompts(path: Path, *, classes: Collection[str], colors: Collection[str]) -> list[Prompt]:
    """Read a prompt file in the official format.

    Raises:
        EvaluationError: If the file is missing or empty; or naming the line whose JSON, tag, class,
            colour, count or relation is wrong, or which repeats an earlier line.
    """
    if not path.is_file():
        raise EvaluationError(f"no GenEval prompt file {path}")
    prompts: dict[Prompt, int] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            prompt = parse_prompt(json.loads(line), classes=classes, colors=colors)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise EvaluationError(f"{path}:{number}: not a GenEval prompt: {error!r}") from error
        if prompt in prompts:
            raise EvaluationError(f"{path}:{number}: repeats line {prompts[prompt]}")
        prompts[prompt] = number
    if not prompts:
        raise EvaluationError(f"{path} holds no prompt")
    return list(prompts)


def parse_prompt(
    row: dict[str, Any], *, classes: Collection[str], colors: Collection[str]
) -> Prompt:
    """Check one row of the official format.

    Raises:
        ValueError: For a tag, class, colour, count or relation that does not exist.
        KeyError: For a missing key.
    """
    _check("tag", row["tag"], TASKS)
    include: list[Include] = []
    for wanted in row["include"]:
        name, count = _class_and_count(wanted, classes)
        color = wanted.get("color")
        if color is not None:
            _check("color", color, colors)
        relation, target = wanted.get("position", (None, None))
        if relation is not None:
            _check("relation", relation, RELATIONS)
            _check("position target", target, range(len(include)))
        include.append(Include(name, count, color, relation, target))
    if not include:
        raise ValueError("include is empty")
    exclude = tuple(Exclude(*_class_and_count(e, classes)) for e in row.get("exclude", ()))
    return Prompt(row["tag"], str(row["prompt"]), tuple(include), exclude)


def _class_and_count(row: dict[str, Any], classes: Collection[str]) -> tuple[str, int]:
    _check("class", row["class"], classes)
    count = row["count"]
    if not isinstance(count, int) or count < 1:
        raise ValueError(f"count must be a positive integer, got {count!r}")
    return row["class"], count


def _check(what: str, value: object, allowed: Collection[object]) -> None:
    if value not in allowed:
        known = ", ".join(map(str, itertools.islice(allowed, 100)))
        raise ValueError(f"unknown {what} {value!r}; known: {known}")
