"""GenEval's folder layout: 00000/metadata.jsonl and 00000/samples/0000.png for each prompt."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from uae.data.geneval import Prompt
from uae.errors import EvaluationError
from uae.seeds import derive_seed

BENCHMARK = "geneval"
_SHOWN = 20


@runtime_checkable
class InFolder(Protocol):
    """A system whose pictures were made by another tool and lie in <root>/geneval."""

    @property
    def root(self) -> Path:
        """The folder of all its results."""
        ...


def picture_place(number: int, image: int) -> str:
    """Return the name under which a system is asked for a prompt's picture."""
    return f"{BENCHMARK}/{sample_path(Path(), number, image).as_posix()}"


def sample_path(folder: Path, number: int, image: int) -> Path:
    """Return where the official layout keeps a prompt's picture."""
    return folder / f"{number:05d}" / "samples" / f"{image:04d}.png"


def metadata_path(folder: Path, number: int) -> Path:
    """Return where the official layout keeps a prompt's row."""
    return folder / f"{number:05d}" / "metadata.jsonl"


def picture_seed(seed: int, number: int, image: int) -> int:
    """Return the seed of one prompt's picture."""
    return derive_seed(seed, BENCHMARK, number, image)


def write_metadata(folder: Path, number: int, prompt: Prompt) -> None:
    """Write a prompt's row, whole or not at all; several processes may write the same one."""
    path = metadata_path(folder, number)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(json.dumps(prompt.to_json()) + "\n", encoding="utf-8")
    os.replace(partial, path)


def check_metadata(folder: Path, prompts: Sequence[Prompt], texts: Sequence[str]) -> None:
    """Refuse pictures that were painted for other prompts.

    Args:
        folder: In the official layout; a prompt that has no folder has no picture either.
        prompts: What is asked.
        texts: What was painted: a tool may have noted it in place of the prompt's own text.

    Raises:
        EvaluationError: Naming the rows that are missing or of another prompt.
    """
    faults = []
    for number, (prompt, text) in enumerate(zip(prompts, texts, strict=True)):
        path = metadata_path(folder, number)
        name = path.relative_to(folder)
        if path.is_file():
            row = _read_row(path)
            same = _rules(row) == _rules(prompt.to_json())
            if not same or row.get("prompt") not in (prompt.text, text):
                faults.append(f"{name} is another prompt than {prompt.text!r}")
        elif path.parent.is_dir():
            faults.append(f"missing {name}, so that nobody knows what was painted")
    if faults:
        more = f"; and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise EvaluationError(f"{folder} cannot be scored: {'; '.join(faults[:_SHOWN])}{more}")


def _read_row(path: Path) -> dict[str, Any]:
    try:
        row = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise EvaluationError(f"{path} is no row of JSON: {error}") from error
    if not isinstance(row, dict):
        raise EvaluationError(f"{path} is no row of JSON: {row!r}")
    return row


def _rules(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a verdict depends on; tools may note more."""
    return {key: row.get(key) for key in ("tag", "include", "exclude")}
