"""Which results there are below some folders."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from uae.errors import EvaluationError
from uae.evaluation.results import RESULTS, Result, read_result


class Entry(NamedTuple):
    """A result and where it is."""

    folder: Path
    place: str  # the folder as the page names it: without where it is on this machine
    result: Result


def gather(folders: Sequence[Path]) -> list[Entry]:
    """Read every result below the folders, in the order of their names; each folder once.

    Raises:
        EvaluationError: If a folder is missing or holds no result, or a result cannot be read.
    """
    found: dict[Path, Entry] = {}
    for folder in folders:
        if not folder.is_dir():
            raise EvaluationError(f"no folder {folder}: give folders with results")
        paths = sorted(folder.rglob(RESULTS))
        if not paths:
            raise EvaluationError(f"no {RESULTS} in {folder} or below: is an evaluation finished?")
        for path in paths:
            place = Path(folder.resolve().name) / path.parent.relative_to(folder)
            entry = Entry(path.parent, place.as_posix(), read_result(path.parent))
            found.setdefault(path.parent.resolve(), entry)
    if not found:
        raise EvaluationError("no folders with results were given")
    return list(found.values())
