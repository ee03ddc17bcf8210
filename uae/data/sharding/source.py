"""Where the pictures of `captions.jsonl` come from, and what is known of them unopened."""

from __future__ import annotations

import os
import stat
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import NamedTuple

from uae.data.folder import CAPTIONS
from uae.data.sample import BadRow
from uae.data.streaming.place import FolderPlace, Place, open_place
from uae.errors import DataError

NUM_REQUESTS = 16  # to a bucket, at a time from each worker: small objects are slow to ask for


class Found(NamedTuple):
    """A picture's size, and what else changes with its content."""

    num_bytes: int
    state: str


class Source(ABC):
    """A data set with `captions.jsonl`. May be sent to another process."""

    address: str
    captions: Path  # a local copy, if it is not local

    @abstractmethod
    def find(self, name: str, where: str) -> Found:
        """Look a picture up without opening it.

        Raises:
            BadRow: If it is not there, or is no plain file.
        """

    @abstractmethod
    def read(self, names: Iterable[str]) -> Iterator[bytes]:
        """Yield the content of pictures, in order.

        Raises:
            DataError: If one cannot be read.
            StoreError: If the store fails.
        """


class FolderSource(Source):
    """A folder."""

    def __init__(self, root: Path) -> None:
        """Take a folder that has `captions.jsonl`."""
        self.root = root.resolve()
        self.address = str(root)
        self.captions = self.root / CAPTIONS

    def find(self, name: str, where: str) -> Found:
        """Look a picture up without opening it.

        Raises:
            BadRow: If it is not there, or is no plain file.
        """
        path = os.path.join(self.root, name)  # pathlib takes longer than the file system
        try:
            found = os.lstat(path)
            plain = not stat.S_ISLNK(found.st_mode) and _has_no_link(os.path.dirname(path))
        except FileNotFoundError as error:
            raise BadRow(where, "image file exists", f"no file {name!r:.200}") from error
        except OSError as error:
            detail = f"{name!r:.200}: {error.strerror or error}"
            raise BadRow(where, "image file can be found", detail) from error
        if not plain:
            raise BadRow(where, "image path has no symbolic link", f"got {name!r:.200}")
        if not stat.S_ISREG(found.st_mode):
            raise BadRow(where, "image file exists", f"no file {name!r:.200}")
        return Found(found.st_size, str(found.st_mtime_ns))

    def read(self, names: Iterable[str]) -> Iterator[bytes]:
        """Yield the content of pictures, in order.

        Raises:
            DataError: If one cannot be read.
        """
        for name in names:
            try:
                with open(os.path.join(self.root, name), "rb", buffering=0) as file:
                    yield file.read()
            except OSError as error:
                reason = error.strerror or error
                raise DataError(f"cannot read {self.root / name}: {reason}") from error


class BucketSource(Source):
    """A prefix of a bucket, read with the credentials of the environment."""

    def __init__(self, address: str, captions: Path) -> None:
        """Take a prefix whose `captions.jsonl` was copied to a local path."""
        self.address, self.captions = address, captions
        self._place: Place | None = None
        self._listing: dict[str, str] = {}

    def __getstate__(self) -> dict[str, object]:
        """Leave behind what is large or belongs to one process."""
        return {**self.__dict__, "_place": None, "_listing": {}}

    @property
    def place(self) -> Place:
        """The prefix, opened once in each process."""
        if self._place is None:
            self._place = open_place(self.address)
        return self._place

    def find(self, name: str, where: str) -> Found:
        """Look an object up in a listing made once.

        Raises:
            BadRow: If it is not there.
        """
        if not self._listing:
            self._listing = self.place.sizes()
        known = self._listing.get(os.path.normpath(name))
        if known is None:
            raise BadRow(where, "image file exists", f"no object {name!r:.200}")
        return Found(int(known.split()[-1]), known)

    def read(self, names: Iterable[str]) -> Iterator[bytes]:
        """Yield the content of objects, in order.

        Raises:
            DataError: If one has gone.
            StoreError: If the store fails.
        """
        waiting: deque[tuple[str, Future[bytes | None]]] = deque()
        with ThreadPoolExecutor(NUM_REQUESTS) as pool:
            try:
                for name in names:
                    place = os.path.normpath(name)
                    waiting.append((name, pool.submit(self.place.read, place)))
                    if len(waiting) == NUM_REQUESTS:
                        yield self._content(*waiting.popleft())
                while waiting:
                    yield self._content(*waiting.popleft())
            finally:
                pool.shutdown(cancel_futures=True)

    def _content(self, name: str, answer: Future[bytes | None]) -> bytes:
        content = answer.result()
        if content is None:
            raise DataError(f"{self.address}/{name} has gone since it was listed")
        return content


def open_source(address: str, scratch: Path) -> Source:
    """Open a folder or s3://bucket/prefix.

    Args:
        address: Of the data set.
        scratch: A folder that lasts as long as the source is used.

    Raises:
        DataError: If there is no `captions.jsonl`.
        StoreError: If the bucket cannot be read.
    """
    place = open_place(address)
    if isinstance(place, FolderPlace):
        found: Source = FolderSource(Path(address))
        if found.captions.is_file():
            return found
    elif (captions := place.read(CAPTIONS)) is not None:
        (scratch / CAPTIONS).write_bytes(captions)
        return BucketSource(address, scratch / CAPTIONS)
    raise DataError(
        f"{address} has no {CAPTIONS}: give a folder or prefix with pictures and {CAPTIONS}; data "
        "that are shards already need none"
    )


@cache
def _has_no_link(folder: str) -> bool:
    return os.path.realpath(folder) == os.path.normpath(folder)
