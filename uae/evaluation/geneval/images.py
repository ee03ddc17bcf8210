"""GenEval's folder layout: 00000/metadata.jsonl and 00000/samples/0000.png for each prompt.

The published generator (generation/diffusers_generate.py in github.com/djghosh13/geneval) names
samples with five digits and adds a grid.png; the published evaluate_images.py takes every folder
whose name is a number, and in its samples/ every picture whose name is one, in any order.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from uae.data.geneval import Prompt
from uae.errors import EvaluationError
from uae.evaluation.json_lines import parse_object
from uae.seeds import derive_seed

BENCHMARK = "geneval"
_SAMPLE = re.compile(r"([0-9]{1,9})\.(png|jpg|jpeg|webp)", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]{1,9}")
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


def given_pictures(folder: Path) -> dict[str, Path]:
    """Return the pictures that another tool made, by the names under which they are asked for.

    The pictures of a prompt are numbered from 0 in the order of their own numbers. Only samples/ of
    folders with a number is looked into, so that grids are no pictures, and only names that are a
    number count there.

    Args:
        folder: In the official layout, of this tool or the published one.

    Raises:
        EvaluationError: If two folders, or two pictures of one prompt, have the same number.
    """
    found: dict[str, Path] = {}
    folders: dict[int, Path] = {}
    for path in sorted(folder.glob("*/samples")):
        if not _NUMBER.fullmatch(path.parent.name) or not path.is_dir():
            continue
        number = int(path.parent.name)
        _refuse_twice(folders.setdefault(number, path.parent), path.parent)
        for image, picture in enumerate(_samples(path)):
            found[picture_place(number, image)] = picture
    return found


def _samples(folder: Path) -> list[Path]:
    pictures: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        if (name := _SAMPLE.fullmatch(path.name)) and path.is_file():
            _refuse_twice(pictures.setdefault(int(name[1]), path), path)
    return [pictures[number] for number in sorted(pictures)]


def _refuse_twice(first: Path, path: Path) -> None:
    if first != path:
        raise EvaluationError(f"{first} and {path} have the same number: keep one of them")


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
        folder: In the official layout; a prompt without a row is taken at its number.
        prompts: What is asked.
        texts: What was painted: a tool may have noted it in place of the prompt's own text.

    Raises:
        EvaluationError: Naming the rows that are of another prompt.
    """
    faults = []
    for path in sorted(folder.glob("*/metadata.jsonl")):
        name = path.parent.name
        if not _NUMBER.fullmatch(name) or int(name) >= len(prompts):
            continue  # of pictures that are not asked for, if there are any
        prompt, text = prompts[int(name)], texts[int(name)]
        row = _read_row(path)
        same = _rules(row) == _rules(prompt.to_json())
        if not same or row.get("prompt") not in (prompt.text, text):
            faults.append(f"{path.relative_to(folder)} is another prompt than {prompt.text!r}")
    if faults:
        more = f"; and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise EvaluationError(f"{folder} cannot be scored: {'; '.join(faults[:_SHOWN])}{more}")


def _read_row(path: Path) -> dict[str, Any]:
    try:
        return parse_object(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise EvaluationError(f"{path} is no row of JSON: {error}") from error


def _rules(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a verdict depends on; tools may note more."""
    return {key: row.get(key) or None for key in ("tag", "include", "exclude")}
