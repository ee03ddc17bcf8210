"""Where shards go: a folder that appears when all is done, or straight to a bucket.

Beside each finished shard stands a record of what it was made from, so that an interrupted run is
gone on with. The index is written last, then the records are deleted.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from uae.data.sharding.plan import Job, Plan
from uae.data.sharding.shard_file import Written
from uae.data.streaming.index import (
    Entry,
    Shard,
    ShardIndex,
    dump_index,
    load_index,
)
from uae.data.streaming.names import INDEX, RECORDS, SAMPLES
from uae.data.streaming.place import BucketPlace, FolderPlace, Place, open_place, read_required
from uae.errors import DataError
from uae.replacement import replaced_file

LOCK = "lock"


class Target(ABC):
    """A place for shards. May be sent to another process."""

    address: str

    @property
    @abstractmethod
    def place(self) -> Place:
        """Where shards and records stand until all are done."""

    @abstractmethod
    def finished(self) -> Place:
        """Return where the data set will stand."""

    @contextmanager
    @abstractmethod
    def shard(self, name: str) -> Iterator[IO[bytes]]:
        """Give a file to write, which takes its place when all went well."""

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other runs of this machine away, where that is possible."""
        yield

    @abstractmethod
    def publish(self) -> None:
        """Show the data set, which is complete."""

    def find_record(self, job: Job) -> tuple[Shard, list[Entry]] | None:
        """Return a shard of an earlier run, if it was made from the same."""
        content = self.place.read(f"{RECORDS}/{job.name}.json")
        record = json.loads(content) if content else {}
        if record.get("inputs") != job.inputs or not self.has(job):
            if record:
                self.place.delete(f"{RECORDS}/{job.name}.json")  # before its shard is replaced
            return None
        return Shard(**record["shard"]), [Entry(*entry) for entry in record["entries"]]

    @abstractmethod
    def has(self, job: Job) -> bool:
        """Say whether a shard of this size is there."""

    def record(self, job: Job, written: Written) -> None:
        """Note that a shard is complete."""
        if written.shard is None:
            raise ValueError(f"{job.name} was not written")
        shard = written.shard.__dict__
        content = {"inputs": job.inputs, "shard": shard, "entries": written.entries}
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        self.place.write(f"{RECORDS}/{job.name}.json", text.encode())

    def find_finished(self, plan: Plan) -> ShardIndex | None:
        """Return the index of a run that had ended already.

        Raises:
            DataError: If something else is there.
        """
        done = self.finished()
        content = done.read(INDEX)
        if content is None:
            self._refuse_occupied(done)
            return None
        index = load_index(content, read_required(done, SAMPLES), self.address)
        planned = [(job.name, job.num_samples, job.num_bytes) for job in plan.jobs]
        if planned != [(shard.name, shard.num_samples, shard.num_bytes) for shard in index.shards]:
            raise DataError(
                f"{self.address} already holds the shards of other data or another size: choose "
                "another place, or delete what is there"
            )
        done.delete(RECORDS)
        return index

    def finish(self, index: ShardIndex) -> None:
        """Write the index, and clear up."""
        content, samples = dump_index(index)
        kept = {shard.name for shard in index.shards}
        for name in self.place.sizes():
            if name.endswith(".tar") and name not in kept:  # of an earlier, longer plan
                self.place.delete(name)
        self.place.write(SAMPLES, samples)
        self.place.write(INDEX, content)
        self.publish()
        self.finished().delete(RECORDS)

    @abstractmethod
    def _refuse_occupied(self, done: Place) -> None:
        """Raise DataError if something stands there that no run of ours left."""


class FolderTarget(Target):
    """A folder. Until it is complete its parts stand beside it, in `.<name>.unfinished`."""

    def __init__(self, path: Path) -> None:
        """Describe the folder."""
        self.path = path.resolve()
        self.address = str(path)
        self._work = self.path.parent / f".{self.path.name}{RECORDS}"

    @property
    def place(self) -> FolderPlace:
        """Where shards and records stand until all are done."""
        return FolderPlace(self._work)

    def finished(self) -> FolderPlace:
        """Return where the data set will stand."""
        return FolderPlace(self.path)

    @contextmanager
    def shard(self, name: str) -> Iterator[IO[bytes]]:
        """Give a file to write, which takes its place when all went well."""
        with replaced_file(self._work / name) as partial, partial.open("wb") as file:
            yield file

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other runs of this machine away.

        Raises:
            DataError: If another one writes the same folder.
        """
        records = self._work / RECORDS
        records.mkdir(parents=True, exist_ok=True)
        with (records / LOCK).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise DataError(f"another `uae shard` is writing {self.address}") from error
            yield
        if (self.path / INDEX).is_file():
            shutil.rmtree(self._work, ignore_errors=True)

    def has(self, job: Job) -> bool:
        """Say whether a shard of this size is there."""
        path = self._work / job.name
        return path.is_file() and path.stat().st_size == job.num_bytes

    def publish(self) -> None:
        """Show the data set, which is complete."""
        self._work.replace(self.path)

    def _refuse_occupied(self, done: Place) -> None:
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise DataError(f"{done.address} already exists: choose another folder, or remove it")


class BucketTarget(Target):
    """A prefix of a bucket, written with the credentials of the environment."""

    def __init__(self, address: str) -> None:
        """Describe the prefix."""
        self.address = address
        self._place: BucketPlace | None = None
        self._sizes: dict[str, str] | None = None

    def __getstate__(self) -> dict[str, object]:
        """Leave behind what belongs to one process."""
        return {**self.__dict__, "_place": None, "_sizes": None}

    @property
    def place(self) -> BucketPlace:
        """The prefix, opened once in each process."""
        if self._place is None:
            place = open_place(self.address)
            assert isinstance(place, BucketPlace)
            self._place = place
        return self._place

    def finished(self) -> BucketPlace:
        """Return where the data set will stand."""
        return self.place

    @contextmanager
    def shard(self, name: str) -> Iterator[IO[bytes]]:
        """Give a local file to write; it is uploaded when all went well."""
        # A file without a name: the system frees its space however this process ends.
        with tempfile.TemporaryFile() as file:
            yield file
            file.flush()
            self.place.upload(name, Path(f"/proc/self/fd/{file.fileno()}"))

    def publish(self) -> None:
        """Do nothing: with its index the data set is there."""

    def has(self, job: Job) -> bool:
        """Say whether a shard of this size is there."""
        if self._sizes is None:
            self._sizes = self.place.sizes()
        return self._sizes.get(job.name, "").split()[-1:] == [str(job.num_bytes)]

    def _refuse_occupied(self, done: Place) -> None:
        ours = {INDEX, SAMPLES}
        names = [
            name
            for name in done.sizes()
            if not (name in ours or name.startswith((f"{RECORDS}/", "pairs-")))
        ]
        if names:
            raise DataError(
                f"{done.address} already holds {names[0]}: choose another prefix, or delete it"
            )


def open_target(address: str) -> Target:
    """Describe a folder or s3://bucket/prefix; nothing is written."""
    if address.startswith("s3://"):
        return BucketTarget(address)
    return FolderTarget(Path(address))
