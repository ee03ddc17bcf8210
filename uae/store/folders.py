"""Whole folders in a bucket, complete or not there at all for whoever reads them.

The objects are written first and `<prefix>/MANIFEST.json` last; without it there is no folder.
"""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from uae.errors import StoreError

if TYPE_CHECKING:
    from uae.store.s3 import Store

MANIFEST = "MANIFEST.json"
NUM_TRANSFERS = 4  # at a time


def put_folder(store: Store, folder: Path, prefix: str) -> str:
    """Upload every file of a folder under `prefix`, replacing what was there.

    Returns:
        sha256 of the manifest: equal folders have equal ones.

    Raises:
        StoreError: If the folder is missing or holds a symbolic link, or the store fails.
    """
    prefix = prefix.rstrip("/")
    files = {path.relative_to(folder).as_posix(): path for path in _files(folder)}
    if MANIFEST in files:
        raise StoreError(f"{folder} has a file named {MANIFEST}; that name is the store's own")
    manifest = {"files": {name: _describe(path) for name, path in sorted(files.items())}}
    store.delete(f"{prefix}/{MANIFEST}")
    _transfer(lambda name: store.put_file(f"{prefix}/{name}", files[name]), files)
    for key in set(store.list(prefix)) - {f"{prefix}/{name}" for name in files}:
        store.delete(key)
    store.put_json(f"{prefix}/{MANIFEST}", manifest)
    return _digest(manifest)


def get_folder(store: Store, prefix: str, folder: Path) -> str:
    """Download what `put_folder` uploaded; the folder appears at once, complete and checked.

    Args:
        store: The bucket.
        prefix: Where the folder was put.
        folder: Must not exist, or be empty.

    Returns:
        sha256 of the manifest, as `put_folder` returned it.

    Raises:
        MissingObject: If no complete folder is there.
        StoreError: If a file differs from the manifest, or the store or the local disk fails.
    """
    prefix = prefix.rstrip("/")
    files = _read_manifest(store, prefix)

    def fetch(name: str, target: Path) -> None:
        store.get_file(f"{prefix}/{name}", target)
        if _describe(target) != files[name]:
            raise StoreError(
                f"{store.bucket}/{prefix}/{name} is not what its manifest says: it was changed or "
                "is being replaced; upload it again"
            )

    _download(files, folder, fetch)
    return _digest({"files": files})


def get_prefix(store: Store, prefix: str, folder: Path) -> None:
    """Download every object under a prefix; the folder appears at once and complete.

    Raises:
        StoreError: If nothing is there, a key would leave the folder, or the transfer fails.
    """
    start = f"{prefix.rstrip('/')}/" if prefix else ""
    names = [key.removeprefix(start) for key in store.list(prefix)]
    names = [name for name in names if name != MANIFEST and not name.endswith("/")]
    if not names:
        raise StoreError(f"nothing is at s3://{store.bucket}/{prefix}: check the address")
    _check_names(names, f"s3://{store.bucket}/{prefix}")
    _download(names, folder, lambda name, target: store.get_file(start + name, target))


def _download(names: Iterable[str], folder: Path, fetch: Callable[[str, Path], None]) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StoreError(f"{folder} already exists: choose another folder, or remove it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))

    def fetch_one(name: str) -> None:
        target = partial / name
        target.parent.mkdir(parents=True, exist_ok=True)
        fetch(name, target)

    try:
        _transfer(fetch_one, names)
        partial.chmod(0o755)
        partial.replace(folder)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise StoreError(f"cannot download to {folder}: the disk is full; free space") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _transfer(one: Callable[[str], None], names: Iterable[str]) -> None:
    with ThreadPoolExecutor(NUM_TRANSFERS) as pool:
        futures = [pool.submit(one, name) for name in names]
        try:
            for future in futures:
                future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _read_manifest(store: Store, prefix: str) -> dict[str, dict[str, Any]]:
    manifest = store.get_json(f"{prefix}/{MANIFEST}")
    files = manifest.get("files") if isinstance(manifest, dict) else None
    if not isinstance(files, dict):
        raise StoreError(f"{store.bucket}/{prefix}/{MANIFEST} has no files: upload it again")
    _check_names(files, f"{store.bucket}/{prefix}/{MANIFEST}")
    return files


def _check_names(names: Iterable[str], where: str) -> None:
    for name in names:
        path = PurePosixPath(name)
        if path.is_absolute() or {"..", "."} & set(name.split("/")) or "\\" in name or not name:
            raise StoreError(f"{where} names {name!r}, which would leave the folder")


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise StoreError(f"cannot upload {folder}: there is no such folder")
    paths = sorted(folder.rglob("*"))
    links = [str(path) for path in paths if path.is_symlink()]
    if links:
        raise StoreError(f"cannot upload symbolic links: {', '.join(links)}; copy the files")
    return [path for path in paths if path.is_file()]


def _describe(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"sha256": digest, "bytes": path.stat().st_size}


def _digest(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
