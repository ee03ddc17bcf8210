"""Which rows go to which shard: decided from sizes alone, before anything is written."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from uae.data.dataset import explain_faults
from uae.data.folder import CAPTIONS
from uae.data.sample import Fault
from uae.data.sharding.rows import Lines, Scan
from uae.errors import DataError

SHARD_NAME = "pairs-{:06d}.tar"
END_BYTES = 1024  # two empty blocks
RECORD_BYTES = 10240  # tar files are filled up to a multiple of it


@dataclass(frozen=True)
class Job:
    """A shard to be written."""

    name: str
    lines: Lines  # of captions.jsonl
    image_bytes: tuple[int, ...]  # of each row
    num_bytes: int  # of the tar file
    rows: str  # hash of rows and sizes
    inputs: str  # hash of rows, sizes and what else tells one content from another

    @property
    def num_samples(self) -> int:
        """Pictures in the shard."""
        return len(self.image_bytes)


class Plan(NamedTuple):
    """All shards of a data set."""

    jobs: tuple[Job, ...]

    @property
    def num_samples(self) -> int:
        """Pictures in all shards."""
        return sum(job.num_samples for job in self.jobs)

    @property
    def num_bytes(self) -> int:
        """Size of all shards."""
        return sum(job.num_bytes for job in self.jobs)


def plan_shards(
    scans: Iterable[Scan],
    max_bytes: int,
    address: str,
    on_rows: Callable[[int], None] = lambda _: None,
) -> Plan:
    """Cut a data set into shards, in the order of its rows.

    Args:
        scans: Of consecutive blocks of lines.
        max_bytes: No shard is larger, unless a single pair is.
        address: Of the data set, for errors.
        on_rows: Told how many rows were read, again and again.

    Raises:
        DataError: Naming every bad row and every id that stands twice, or if there is no row.
    """
    cutter = _Cutter(max_bytes)
    faults: list[Fault] = []
    seen: set[str] = set()
    repeated: Counter[str] = Counter()
    for part in scans:
        faults += part.faults
        repeated.update(image_id for image_id in part.image_ids if image_id in seen)
        repeated.update(_repeated(part.image_ids, seen))
        seen.update(part.image_ids)
        cutter.add(part)
        on_rows(len(seen))
    faults += [
        Fault(image_id, "image_id is unique", f"stands {count + 1} times")
        for image_id, count in repeated.items()
    ]
    if faults:
        raise DataError(explain_faults(address, faults))
    if not seen:
        raise DataError(f"{address} has no samples: its {CAPTIONS} is empty")
    return Plan(cutter.finish())


def tar_file_bytes(contents: int) -> int:
    """Return the size of a tar file whose members take `contents` bytes with their headers."""
    return -(-(contents + END_BYTES) // RECORD_BYTES) * RECORD_BYTES


def _repeated(image_ids: list[str], seen: set[str]) -> Counter[str]:
    """Count what a block repeats within itself."""
    new = Counter(image_id for image_id in image_ids if image_id not in seen)
    return Counter({image_id: count - 1 for image_id, count in new.items() if count > 1})


class _Cutter:
    """Collects rows until a shard is full."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._jobs: list[Job] = []
        self._start = self._end = 0
        self._clear()

    def add(self, part: Scan) -> None:
        columns = (part.image_bytes, part.tar_bytes, part.ends, part.digests, part.states)
        for image_bytes, tar_bytes, end, digest, state in zip(*columns, strict=True):
            if self._images and tar_file_bytes(self._contents + tar_bytes) > self._max_bytes:
                self._close()
            self._images.append(image_bytes)
            self._contents += tar_bytes
            self._end = end
            self._rows.update(digest)
            self._states.update(f"{state}\n".encode())

    def finish(self) -> tuple[Job, ...]:
        if self._images:
            self._close()
        return tuple(self._jobs)

    def _close(self) -> None:
        rows = self._rows.hexdigest()
        self._jobs.append(
            Job(
                name=SHARD_NAME.format(len(self._jobs)),
                lines=Lines(self._start, self._end - self._start, 1),
                image_bytes=tuple(self._images),
                num_bytes=tar_file_bytes(self._contents),
                rows=rows,
                inputs=f"{rows} {self._states.hexdigest()}",
            )
        )
        self._start = self._end
        self._clear()

    def _clear(self) -> None:
        self._images: list[int] = []
        self._contents = 0
        self._rows, self._states = hashlib.sha256(), hashlib.sha256()
