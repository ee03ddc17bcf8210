"""One bucket of an S3 store: bytes, JSON and whole folders, with retries and clear errors."""

import io
import json
import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import certifi
import minio
import minio.deleteobjects
import urllib3

from uae.errors import StoreError
from uae.store import conditional, folders
from uae.store.faults import Backoff, MissingObject, call

CONNECT_SECONDS = 5
READ_SECONDS = 60
PART_BYTES = 16 * 2**20  # of a large file, which goes in several parts at a time
NUM_PARTS_AT_ONCE = 3
MOST_PARTS = 9_000  # S3 takes 10,000
Result = TypeVar("Result")

__all__ = ["MissingObject", "Store", "parse_endpoint", "parse_uri"]


class Store:
    """A bucket. Safe to use from several threads; open one in each process."""

    def __init__(
        self,
        endpoint: str,
        bucket: str,
        access_key: str,
        secret_key: str,
        secure: bool,
        *,
        session_token: str | None = None,
        backoff: Backoff | None = None,
        read_seconds: float = READ_SECONDS,
    ) -> None:
        """Describe the bucket; nothing is sent.

        Args:
            endpoint: host or host:port, without scheme.
            bucket: Its name.
            access_key: Public half of the credentials.
            secret_key: Secret half. Never logged, never part of an error.
            secure: Whether to speak TLS, with certificates always verified.
            session_token: For temporary credentials.
            backoff: How transient faults are retried.
            read_seconds: How long to wait for each part of an answer.
        """
        self.endpoint = ("https://" if secure else "http://") + endpoint
        self.bucket = bucket
        self.backoff = backoff or Backoff()
        self._keys = (access_key, secret_key, session_token)
        self._http = _http_client(read_seconds)
        self._client = minio.Minio(
            endpoint,
            access_key,
            secret_key,
            session_token,
            secure=secure,
            region=os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"),
            http_client=self._http,
        )

    def __repr__(self) -> str:
        return f"Store({self.endpoint}, bucket {self.bucket!r})"

    @classmethod
    def connect(cls, endpoint: str, bucket: str) -> Self:
        """Open a bucket with the credentials of the environment, and check that it is there.

        Args:
            endpoint: A URL such as http://127.0.0.1:8333 or https://s3.amazonaws.com.
            bucket: Its name.

        Raises:
            StoreError: If the URL is malformed, AWS_ACCESS_KEY_ID or AWS_SECRET_ACCESS_KEY is not
                set, or the store refuses, is not there, or has no such bucket.
        """
        host, secure = parse_endpoint(endpoint)
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        missing = [name for name in names if not os.environ.get(name)]
        if missing:
            raise StoreError(f"no credentials for {endpoint}: set {' and '.join(missing)}")
        access_key, secret_key = (os.environ[name] for name in names)
        token = os.environ.get("AWS_SESSION_TOKEN") or None
        store = cls(host, bucket, access_key, secret_key, secure, session_token=token)
        store.check_bucket()
        return store

    def for_bucket(self, bucket: str) -> "Store":
        """Return a store for another bucket at the same endpoint, with the same credentials."""
        access_key, secret_key, token = self._keys
        host, secure = parse_endpoint(self.endpoint)
        return Store(
            host, bucket, access_key or "", secret_key or "", secure,
            session_token=token, backoff=self.backoff,
        )  # fmt: skip

    def check_bucket(self) -> None:
        """Raise StoreError unless the store answers, takes the credentials and has the bucket."""
        self._call("look for the bucket", lambda: next(self._listing("", limit=1), None))

    def put_bytes(self, key: str, data: bytes) -> None:
        """Write one object, replacing what was there."""
        _check_key(key)
        self._call(
            f"write {key}",
            lambda: self._client.put_object(self.bucket, key, io.BytesIO(data), len(data)),
        )

    def put_file(self, key: str, path: Path) -> None:
        """Write one object from a file without holding it in memory; a large one in parts."""
        _check_key(key)
        size = max(PART_BYTES, path.stat().st_size // MOST_PARTS + 1)
        self._call(
            f"write {key}",
            lambda: self._client.fput_object(
                self.bucket,
                key,
                str(path),
                part_size=size,
                num_parallel_uploads=NUM_PARTS_AT_ONCE,
            ),
        )

    def get_bytes(self, key: str) -> bytes:
        """Read one object.

        Raises:
            MissingObject: If there is none.
            StoreError: If it cannot be read.
        """
        parts: list[bytes] = []
        self._call(f"read {key}", lambda: self._read(key, parts.append, parts.clear))
        return b"".join(parts)

    def get_file(self, key: str, path: Path) -> None:
        """Read one object into a file; half of one is left behind on failure."""
        with path.open("wb") as file:
            self._call(f"read {key}", lambda: self._read(key, file.write, _rewind(file)))

    def put_json(self, key: str, value: Any) -> None:
        """Write a value as JSON. NaN and infinities are refused with ValueError."""
        self.put_bytes(key, _json_bytes(value))

    def get_json(self, key: str) -> Any:
        """Read a JSON object.

        Raises:
            MissingObject: If there is none.
            StoreError: If it is not JSON.
        """
        try:
            return json.loads(self.get_bytes(key))
        except ValueError as error:
            raise StoreError(f"{self.bucket}/{key} is not JSON: {error}") from error

    def get_versioned(self, key: str) -> conditional.Versioned | None:
        """Read one object with the tag of its content, None if there is none.

        Raises:
            StoreError: If it cannot be read.
        """
        parts: list[bytes] = []
        tags: list[str] = []

        def read() -> None:
            tags.append(self._read(key, parts.append, parts.clear))

        try:
            self._call(f"read {key}", read)
        except MissingObject:
            return None
        return conditional.Versioned(b"".join(parts), tags[-1])

    def replace_json(self, key: str, value: Any, *, replaces: str | None) -> None:
        """Write a value as JSON if the object still is the one that was read.

        Args:
            key: Of the object.
            value: NaN and infinities are refused with ValueError.
            replaces: Tag of the content that it replaces; None if there must be none.

        Raises:
            ChangedObject: If it is another one; see `conditional.put_if`.
            UnconditionalStore: If the store knows no conditional writes.
            StoreError: If the store fails.
        """
        _check_key(key)
        data = _json_bytes(value)

        def put() -> None:
            url = self._client.get_presigned_url(
                "PUT", self.bucket, key, expires=conditional.SIGNED_FOR
            )
            conditional.put_if(self._http, url, data, key=key, replaces=replaces)

        self._call(f"write {key}", put)

    def exists(self, key: str) -> bool:
        """Say whether an object has exactly this key."""
        _check_key(key)
        try:
            self._call(f"look for {key}", lambda: self._client.stat_object(self.bucket, key))
        except MissingObject:
            return False
        return True

    def list(self, prefix: str) -> list[str]:
        """Return the keys under `prefix` as under a folder, sorted; "" lists everything.

        "runs/1" does not list "runs/10".
        """
        folder = f"{prefix.rstrip('/')}/" if prefix else ""
        return sorted(self._call(f"list {folder}", lambda: [*self._listing(folder)]))

    def etags(self, prefix: str) -> dict[str, str]:
        """Return key -> entity tag of everything under `prefix`, which changes with the content."""
        found = self._call(
            f"list {prefix}",
            lambda: [*self._client.list_objects(self.bucket, prefix=prefix, recursive=True)],
        )
        return {entry.object_name: f"{entry.etag} {entry.size}" for entry in found}

    def delete(self, prefix: str) -> None:
        """Delete the object with this key and everything under it as under a folder."""
        _check_key(prefix)
        keys = self.list(prefix)
        manifest = f"{prefix.rstrip('/')}/{folders.MANIFEST}"
        first = [prefix, manifest] if manifest in keys else [prefix]  # no reader finds half of it
        for key in first:
            self._call(f"delete {key}", partial(self._client.remove_object, self.bucket, key))
        self._delete_keys([key for key in keys if key not in first])

    def put_folder(self, folder: Path, prefix: str) -> str:
        """Upload a folder; see `folders.put_folder`. Returns the manifest's sha256."""
        return folders.put_folder(self, folder, prefix)

    def get_folder(self, prefix: str, folder: Path) -> str:
        """Download what `put_folder` uploaded; see `folders.get_folder`."""
        return folders.get_folder(self, prefix, folder)

    def get_prefix(self, prefix: str, folder: Path) -> None:
        """Download every object under a prefix, manifest or not; see `folders.get_prefix`."""
        folders.get_prefix(self, prefix, folder)

    def _delete_keys(self, keys: Iterable[str]) -> None:
        objects = [minio.deleteobjects.DeleteObject(key) for key in keys]
        errors = self._call(
            "delete objects", lambda: [*self._client.remove_objects(self.bucket, objects)]
        )
        if errors:
            names = ", ".join(f"{error.name} ({error.code})" for error in errors)
            raise StoreError(f"cannot delete from {self.bucket}: {names}")

    def _listing(self, prefix: str, limit: int | None = None) -> Iterator[str]:
        found = self._client.list_objects(self.bucket, prefix=prefix, recursive=limit is None)
        return (entry.object_name for entry in found)

    def _read(self, key: str, write: Callable[[bytes], Any], restart: Callable[[], Any]) -> str:
        """Read one object and return the tag of its content."""
        _check_key(key)
        restart()
        response = self._client.get_object(self.bucket, key)
        try:
            for part in response.stream(2**20):
                write(part)
            return str(response.headers.get("ETag", ""))
        finally:
            response.close()
            response.release_conn()

    def _call(self, action: str, operation: Callable[[], Result]) -> Result:
        return call(operation, action, str(self), self.backoff)


def parse_endpoint(endpoint: str) -> tuple[str, bool]:
    """Split an endpoint URL into host[:port] and whether it is TLS.

    Raises:
        StoreError: If it is not http(s)://host[:port] and nothing else.
    """
    if "@" in endpoint:  # before anything is said or chained that shows it
        raise StoreError(
            "bad store endpoint (with a password inside): give http://host:port or https://host, "
            "and the credentials as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    try:
        url = urlsplit(endpoint)
        port = url.port
    except ValueError as error:
        raise StoreError(f"bad store endpoint {endpoint!r}: {error}") from error
    extras = url.path.strip("/") or url.query or url.fragment
    if url.scheme not in {"http", "https"} or not url.hostname or extras:
        raise StoreError(f"bad store endpoint {endpoint!r}: give http://host:port or https://host")
    host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    return (host if port is None else f"{host}:{port}"), url.scheme == "https"


def parse_uri(uri: str) -> tuple[str, str]:
    """Split s3://bucket/prefix into bucket and prefix; the prefix may be empty.

    Raises:
        StoreError: If it is something else.
    """
    url = urlsplit(uri)
    if url.scheme != "s3" or not url.netloc or url.query or url.fragment:
        raise StoreError(f"bad store address {uri!r}: give s3://bucket/prefix")
    return url.netloc, url.path.strip("/")


def _http_client(read_seconds: float) -> urllib3.PoolManager:
    return urllib3.PoolManager(
        num_pools=4,
        maxsize=16,
        timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=read_seconds),
        retries=False,  # `faults.call` retries, so that there is one count and one error
        cert_reqs="CERT_REQUIRED",
        ca_certs=os.environ.get("SSL_CERT_FILE") or certifi.where(),
    )


def _check_key(key: str) -> None:
    parts = key.rstrip("/").split("/")
    if not key or {"", ".", ".."} & set(parts) or "\0" in key:
        raise StoreError(f"bad object key {key!r}: give names separated by single slashes")


def _json_bytes(value: Any) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False).encode()


def _rewind(file: io.BufferedWriter) -> Callable[[], None]:
    def restart() -> None:
        file.seek(0)
        file.truncate()

    return restart
