"""Where files of a data set are: in a folder, or below a prefix of a bucket."""

from __future__ import annotations

import os
import shutil
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

from uae.errors import DataError
from uae.replacement import replaced_file

if TYPE_CHECKING:
    from uae.store.s3 import Store


class Place(ABC):
    """Files by their relative names. Written ones appear complete or not at all."""

    address: str

    @abstractmethod
    def read(self, name: str) -> bytes | None:
        """Return a file's content, None if there is none."""

    @abstractmethod
    def write(self, name: str, content: bytes) -> None:
        """Write a file, replacing what was there."""

    @abstractmethod
    def fetch(self, name: str, path: Path) -> None:
        """Copy a file to a local path."""

    @abstractmethod
    def sizes(self) -> dict[str, str]:
        """Return name -> what changes with a file's content; its size in bytes is the last word."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Delete a file, or everything below a folder, if it is there."""


class FolderPlace(Place):
    """A folder of this machine."""

    def __init__(self, path: Path) -> None:
        """Describe the folder; it is made with the first file."""
        self.path = path
        self.address = str(path)

    def read(self, name: str) -> bytes | None:
        """Return a file's content, None if there is none."""
        path = self.path / name
        return path.read_bytes() if path.is_file() else None

    def write(self, name: str, content: bytes) -> None:
        """Write a file, replacing what was there."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced_file(path) as partial:
            partial.write_bytes(content)

    def fetch(self, name: str, path: Path) -> None:
        """Copy a file to a local path.

        Raises:
            DataError: If it cannot be copied.
        """
        try:
            shutil.copyfile(self.path / name, path)
        except OSError as error:
            reason = error.strerror or error
            raise DataError(f"cannot copy {self.path / name} to {path}: {reason}") from error

    def sizes(self) -> dict[str, str]:
        """Return name -> time of change and size in bytes."""
        files = [path for path in self.path.rglob("*") if path.is_file()]
        states = ((file.relative_to(self.path).as_posix(), file.stat()) for file in files)
        return {name: f"{state.st_mtime_ns} {state.st_size}" for name, state in states}

    def delete(self, name: str) -> None:
        """Delete a file, or everything below a folder, if it is there."""
        path = self.path / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


class BucketPlace(Place):
    """A prefix of a bucket."""

    def __init__(self, store: Store, prefix: str) -> None:
        """Describe the place; nothing is sent."""
        self.store = store
        self._start = f"{prefix}/" if prefix else ""
        self.address = f"s3://{store.bucket}/{prefix}".rstrip("/")

    def read(self, name: str) -> bytes | None:
        """Return an object's content, None if there is none."""
        from uae.store.s3 import MissingObject

        try:
            return self.store.get_bytes(self._start + name)
        except MissingObject:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Write an object, replacing what was there."""
        self.store.put_bytes(self._start + name, content)

    def upload(self, name: str, path: Path) -> None:
        """Write an object from a local file, in several parts at once if it is large."""
        self.store.put_file(self._start + name, path)

    def fetch(self, name: str, path: Path) -> None:
        """Copy an object to a local path."""
        self.store.get_file(self._start + name, path)

    def sizes(self) -> dict[str, str]:
        """Return name -> entity tag and size in bytes."""
        found = self.store.etags(self._start)
        return {key.removeprefix(self._start): tag for key, tag in found.items()}

    def delete(self, name: str) -> None:
        """Delete an object, or everything below a prefix, if it is there."""
        self.store.delete(self._start + name)


def open_place(address: str, store: Store | None = None) -> Place:
    """Open a folder or s3://bucket/prefix.

    Args:
        address: Of the place.
        store: Opens s3:// addresses. None takes AWS_ENDPOINT_URL and the usual credentials from
            the environment.

    Raises:
        DataError: If AWS_ENDPOINT_URL is needed and not set.
        StoreError: If the bucket cannot be opened.
    """
    if not address.startswith("s3://"):
        return FolderPlace(Path(address).resolve())
    from uae.store.s3 import Store, parse_uri

    bucket, prefix = parse_uri(address)
    if store is None:
        endpoint = os.environ.get("AWS_ENDPOINT_URL")
        if not endpoint:
            raise DataError(f"cannot open {address}: set AWS_ENDPOINT_URL to the store's address")
        store = Store.connect(endpoint, bucket)
    return BucketPlace(store if store.bucket == bucket else store.for_bucket(bucket), prefix)


def read_required(place: Place, name: str) -> bytes:
    """Read a file of a sharded data set that must be there.

    Raises:
        DataError: If it is not.
    """
    content = place.read(name)
    if content is None:
        raise DataError(
            f"{place.address} has no {name}: it holds no shards, or `uae shard` has not ended; "
            "run it (again)"
        )
    return content
