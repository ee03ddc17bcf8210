"""Shards of a data set on the local disk: no more than fit, each checked before it is read.

Several processes of a machine share the folder. A file is named for its sha256 and appears whole. A
lock for each shard lets one process download it while the others wait for the file; one lock for
the folder guards the decision which shards make room. A removed file stays readable for those who
have it open.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from uae.data.streaming.index import Shard
from uae.data.streaming.place import FolderPlace, Place
from uae.errors import DataError

MAX_OPEN = 64  # files a process keeps open
LOCKS, FOLDER_LOCK = "locks", "folder"
PARTIAL = ".partial"
POLL_SECONDS = 0.1


class OpenShard:
    """A shard that was checked, open for reading from several threads."""

    def __init__(self, path: Path) -> None:
        """Open a file."""
        self._file = path.open("rb", buffering=0)  # closed with the last reference

    def is_removed(self) -> bool:
        """Say whether the file was deleted since, to make room."""
        return os.fstat(self._file.fileno()).st_nlink == 0

    def sha256(self) -> str:
        """Return the hash of the content as it is now."""
        self._file.seek(0)
        return hashlib.file_digest(self._file, "sha256").hexdigest()

    def read(self, offset: int, num_bytes: int) -> bytes:
        """Return a part of the file, less if it ends before."""
        return os.pread(self._file.fileno(), num_bytes, offset)


class ShardFiles:
    """Gives checked shards, each opened and hashed once until `max_open` others were asked for."""

    def __init__(self, place: Place, cache: ShardCache | None, max_open: int = MAX_OPEN) -> None:
        """Take the place of the shards.

        Args:
            place: Where they are.
            cache: Keeps copies. None reads them where they are, which must be a folder.
            max_open: Files that are kept open.

        Raises:
            DataError: If shards in a bucket are given no cache.
        """
        if cache is None and not isinstance(place, FolderPlace):
            raise DataError(f"shards at {place.address} need a cache folder on this machine")
        self._place, self._cache, self._max_open = place, cache, max_open
        self._open: OrderedDict[str, OpenShard] = OrderedDict()
        self._busy: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, shard: Shard) -> OpenShard:
        """Return a shard, from the cache or its place.

        Raises:
            DataError: If it is missing, or not what the index says.
            StoreError: If the bucket cannot be read.
        """
        with self._lock:
            busy = self._busy.setdefault(shard.sha256, threading.Lock())
        with busy:  # others of this process wait; other shards are not held up
            with self._lock:
                found = self._open.get(shard.sha256)
                if found is not None:
                    self._open.move_to_end(shard.sha256)
                    return found
            found = self._checked(shard)
            with self._lock:
                for name in [name for name, file in self._open.items() if file.is_removed()]:
                    del self._open[name]  # or its space would not be free
                self._open[shard.sha256] = found
                while len(self._open) > self._max_open:
                    self._open.popitem(last=False)
            return found

    def _checked(self, shard: Shard) -> OpenShard:
        if self._cache is not None:
            return self._cache.get(shard, self._place)
        assert isinstance(self._place, FolderPlace)
        path = self._place.path / shard.name
        try:
            found = OpenShard(path)
            if found.sha256() == shard.sha256:
                return found
        except OSError as error:
            reason = error.strerror or error
            raise DataError(f"cannot read shard {path}: {reason}") from error
        raise _unlike(shard, self._place)


class ShardCache:
    """A folder of shards, at most so many bytes. The least recently used make room."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """Take a folder, which is made if it is not there.

        Args:
            folder: On a disk of this machine. It may hold shards of several data sets.
            max_bytes: Of all shards in it.
        """
        self.folder, self.max_bytes = folder, max_bytes
        (folder / LOCKS).mkdir(parents=True, exist_ok=True)

    def get(self, shard: Shard, place: Place) -> OpenShard:
        """Return a shard, downloaded if it is not there or not as it was.

        Raises:
            DataError: If it does not fit into the cache, or is not what the index says.
            StoreError: If the bucket cannot be read.
        """
        if shard.num_bytes > self.max_bytes:
            raise DataError(
                f"shard {shard.name} has {shard.num_bytes} bytes, more than the cache "
                f"{self.folder} may hold ({self.max_bytes}): enlarge it, or make smaller shards"
            )
        path = self.folder / f"{shard.sha256}.tar"
        with self._locked(shard.sha256):
            with suppress(FileNotFoundError):
                found = OpenShard(path)
                if found.sha256() == shard.sha256:
                    with suppress(FileNotFoundError):  # it has just made room: it is open
                        os.utime(path)  # what is used last goes last
                    return found
                path.unlink(missing_ok=True)
            return self._download(shard, place, path)

    def num_bytes(self) -> int:
        """Return the size of all files, those included that are being downloaded."""
        return sum(size for _, size, _ in self._files())

    def _download(self, shard: Shard, place: Place, path: Path) -> OpenShard:
        # The name says how much room it is going to take.
        partial = self.folder / f"{shard.sha256}.{shard.num_bytes}{PARTIAL}"
        partial.unlink(missing_ok=True)  # of a process that was killed: the lock is ours now
        try:
            while not self._reserve(partial, shard.num_bytes):
                time.sleep(POLL_SECONDS)
            place.fetch(shard.name, partial)
            found = OpenShard(partial)
            if found.sha256() != shard.sha256:
                raise _unlike(shard, place)
            partial.replace(path)
            return found
        finally:
            partial.unlink(missing_ok=True)

    def _reserve(self, partial: Path, num_bytes: int) -> bool:
        """Make room and take it; say whether others' downloads left enough."""
        with self._locked(FOLDER_LOCK):
            if not self._make_room(num_bytes):
                return False
            partial.touch()
            return True

    def _make_room(self, num_bytes: int) -> bool:
        """Delete what is left of downloads that were killed, then what was used longest ago."""
        for _, _, path in self._files():
            if path.suffix == PARTIAL and self._is_abandoned(path):
                path.unlink(missing_ok=True)
        files = sorted(self._files())
        total = sum(size for _, size, _ in files)
        for _, size, path in files:
            if total + num_bytes <= self.max_bytes:
                break
            if path.suffix != PARTIAL:
                path.unlink(missing_ok=True)
                total -= size
        return total + num_bytes <= self.max_bytes

    def _files(self) -> list[tuple[int, int, Path]]:
        """Return time of last use, size and path of every file."""
        found = []
        for path in self.folder.iterdir():
            if path.suffix in (".tar", PARTIAL):
                with suppress(FileNotFoundError):  # replaced or removed by another process
                    state = path.stat()
                    is_partial = path.suffix == PARTIAL
                    size = int(path.name.split(".")[1]) if is_partial else state.st_size
                    found.append((state.st_mtime_ns, size, path))
        return found

    def _is_abandoned(self, partial: Path) -> bool:
        """Say whether nobody holds the lock of a download. Never waits."""
        with (self.folder / LOCKS / partial.name.split(".")[0]).open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        with (self.folder / LOCKS / name).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _unlike(shard: Shard, place: Place) -> DataError:
    return DataError(
        f"shard {place.address}/{shard.name} is not what its index says (sha256 "
        f"{shard.sha256[:12]}...): it was changed or damaged; run `uae shard` again"
    )
