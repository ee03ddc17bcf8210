"""Work that goes on after a kill: batches of samples, each stored once it is whole.

Batches are cut by position alone, so that a resumed, a sharded and an undisturbed evaluation put
the same samples through a model together, and get the same numbers to the last bit.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import Any, Self, TypeVar

from rich.console import Console
from rich.progress import track

from uae.errors import EvaluationError
from uae.evaluation.results import FAILURES, RESULTS, Result, read_result
from uae.fingerprints import json_sha256

Unit = TypeVar("Unit")
Row = dict[str, Any]
DECIDES = "evaluation.json"


@dataclass(frozen=True)
class Shard:
    """Which batches this process works on: those whose position is `number` modulo `count`."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "2/8": the third of eight.

        Raises:
            EvaluationError: If it is anything else.
        """
        number, _, count = text.partition("/")
        if not (number.isdecimal() and count.isdecimal() and int(number) < int(count)):
            raise EvaluationError(f"shard {text!r}: give NUMBER/COUNT, such as 0/4 to 3/4")
        return cls(int(number), int(count))


WHOLE = Shard(0, 1)


class Unfinished(Exception):
    """Other shards still have batches to do: no fault, but no result yet either."""


class Journal:
    """The finished batches of one evaluation, in its result folder.

    `evaluation.json` holds everything that decides the result; a folder whose content differs is
    refused, so that no row is taken over from another model, prompt set, judge or setting.
    """

    def __init__(self, out: Path, shard: Shard, key: str) -> None:
        self.out, self.shard, self.key = out, shard, key
        self._folder = out / "journal"

    @classmethod
    def open(
        cls,
        out: Path,
        decides: Mapping[str, Any],
        shard: Shard = WHOLE,
        *,
        retry_failures: bool = False,
    ) -> Self:
        """Begin an evaluation, or go on with one that was interrupted.

        Args:
            out: Folder of the results.
            decides: Everything that decides the result, as JSON.
            shard: Which batches this process works on.
            retry_failures: Whether samples that are missing or could not be judged are done again.

        Raises:
            EvaluationError: If the folder belongs to another evaluation, naming what differs, or
                another process works on this shard.
        """
        folder = out / "journal"
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(decides, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        path = out / DECIDES
        if path.is_file():
            _check_same(json.loads(path.read_text(encoding="utf-8")), json.loads(text), out)
        else:
            _write(path, text)
        journal = cls(out, shard, json_sha256(json.loads(text)))
        journal._lock()
        if retry_failures:
            journal._forget_failures()
        return journal

    def result(self) -> Result | None:
        """Return the result, if this evaluation is done and every sample has its verdict."""
        if not (self.out / RESULTS).is_file():
            return None
        result = read_result(self.out)
        return result if result.key == self.key and result.complete else None

    def map(
        self,
        phase: str,
        units: Sequence[Unit],
        work: Callable[[Sequence[Unit], list[Row]], list[Row]],
        *,
        batch_size: int,
        after: str | None = None,
        show: bool = True,
    ) -> list[Row] | None:
        """Do this shard's unfinished batches, and return the rows of all units in order.

        Args:
            phase: Name of the work, such as "pictures".
            units: What there is to do; the same in every run and every shard.
            work: Does one batch: takes units and their rows of the phase `after`, returns one
                row of JSON for each unit.
            batch_size: Units in a batch; one for all phases that build on each other.
            after: An earlier phase whose rows the work needs.
            show: Whether a progress bar is drawn.

        Returns:
            None while batches of other shards are missing.
        """
        folder = self._folder / phase
        folder.mkdir(parents=True, exist_ok=True)
        starts = range(0, len(units), batch_size)
        mine = starts[self.shard.number :: self.shard.count]
        left = [start for start in mine if not _is_done(_path(folder, start))]
        for start in _shown(left, phase) if show else left:
            batch = units[start : start + batch_size]
            before = _read(_path(self._folder / after, start)) if after else []
            _write(_path(folder, start), _json(self._work(work, batch, before, folder, start)))
        if not all(_is_done(_path(folder, start)) for start in starts):
            return None
        return [row for start in starts for row in _read(_path(folder, start))]

    def _work(
        self,
        work: Callable[[Sequence[Unit], list[Row]], list[Row]],
        batch: Sequence[Unit],
        before: list[Row],
        folder: Path,
        start: int,
    ) -> list[Row]:
        """Do a batch, or only those of its samples that are to be done again."""
        path = _path(folder, start)
        kept: list[Row | None] = [*_read(path)] if path.is_file() else [None] * len(batch)
        wanted = [index for index, row in enumerate(kept) if row is None]
        rows = work([batch[i] for i in wanted], [before[i] for i in wanted] if before else [])
        if len(rows) != len(wanted):
            raise ValueError(f"{folder.name}: {len(rows)} rows for {len(wanted)} units")
        found = dict(zip(wanted, rows, strict=True))
        return [row if row is not None else found[index] for index, row in enumerate(kept)]

    def once(self, name: str, work: Callable[[], Row]) -> Row:
        """Return what `work` made, now or before; what the first shard made is everyone's."""
        path = self._folder / f"{name}.json"
        if not path.is_file():
            partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
            partial.write_text(_json(work()), encoding="utf-8")
            with suppress(FileExistsError):
                os.link(partial, path)
            partial.unlink()
        row: Row = json.loads(path.read_text(encoding="utf-8"))
        return row

    def _forget_failures(self) -> None:
        """Mark failed samples to be done again: missing ones in every phase, others where they are.

        A sample that was painted and could not be judged keeps its picture.
        """
        batches = {path: _read(path) for path in sorted(self._folder.glob("*/*.json"))}
        missing = {
            (path.name, index)
            for path, rows in batches.items()
            for index, row in enumerate(rows)
            if _state(row) == "missing"
        }
        for path, rows in batches.items():
            kept = [
                None if (path.name, index) in missing or _state(row) in FAILURES else row
                for index, row in enumerate(rows)
            ]
            if kept != rows:
                _write(path, _json(kept))

    def close(self) -> None:
        """Drop the batches once nothing can come back to them: all is judged, by one process."""
        if self.shard == WHOLE and self.result() is not None:
            for path in sorted(self._folder.glob("*/*.json")) + sorted(self._folder.glob("*.json")):
                path.unlink()

    def _lock(self) -> None:
        """Hold the shard until the process ends, however it ends."""
        path = self._folder / f".lock-{self.shard.number}-of-{self.shard.count}"
        self._held = path.open("w")
        try:
            flock(self._held, LOCK_EX | LOCK_NB)
        except BlockingIOError as error:
            raise EvaluationError(
                f"another process evaluates shard {self.shard.number}/{self.shard.count} in "
                f"{self.out}: wait for it, or give another folder"
            ) from error


def _shown(left: Sequence[int], phase: str) -> Iterator[int]:
    """Yield the batches with a progress bar, or in a log with a line at each tenth."""
    console = Console(stderr=True)
    if console.is_terminal:
        yield from track(left, description=phase, console=console, transient=True)
        return
    for done, start in enumerate(left, start=1):
        yield start
        if done * 10 // len(left) > (done - 1) * 10 // len(left):
            console.print(f"{phase}: {done} of {len(left)} batches")


def _check_same(before: Mapping[str, Any], now: Mapping[str, Any], out: Path) -> None:
    keys = sorted(before.keys() | now.keys())
    differences = [
        f"{key}: {before.get(key)!r} before, {now.get(key)!r} now"
        for key in keys
        if before.get(key) != now.get(key)
    ]
    if differences:
        raise EvaluationError(
            f"{out} holds another evaluation; give another folder. Differences: "
            + "; ".join(differences)
        )


def _path(folder: Path, start: int) -> Path:
    return folder / f"{start:07d}.json"


def _read(path: Path) -> list[Row]:
    rows: list[Row] = json.loads(path.read_text(encoding="utf-8"))
    return rows


def _state(row: Row | None) -> str | None:
    return None if row is None else row.get("state")


def _is_done(path: Path) -> bool:
    """Return whether a batch is there, with no sample in it that is to be done again."""
    return path.is_file() and None not in _read(path)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
