"""The state of a data source, told without reading its pictures: what caches go by."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from uae.data.streaming.names import INDEX, SAMPLES
from uae.errors import DataError
from uae.fingerprints import file_sha256, folder_sha256, json_sha256
from uae.store.s3 import parse_uri

if TYPE_CHECKING:
    from uae.store.s3 import Store


def source_revision(source: str, store: Store) -> str:
    """Return a hash that changes when what a source holds changes.

    Of shards with an index it is the sha256 of `index.json`, which has the hashes of all else. In
    a bucket it covers keys, entity tags and sizes; in a folder names, sizes and times of change; of
    the shipped data their content.

    Args:
        source: "starter", a folder or a .tar file, or s3://bucket/prefix.
        store: Opens s3:// sources.

    Raises:
        DataError: If there is nothing at the source.
        StoreError: If the bucket cannot be read.
    """
    if source == "starter":
        from uae.data.starter.vocabulary import STARTER_DATA

        return folder_sha256(STARTER_DATA)
    if source.startswith("s3://"):
        bucket, prefix = parse_uri(source)
        place = store if bucket == store.bucket else store.for_bucket(bucket)
        start = f"{prefix.rstrip('/')}/"
        found = place.etags(start)
        if {f"{start}{name}" for name in (INDEX, SAMPLES)} <= found.keys():
            return hashlib.sha256(place.get_bytes(f"{start}{INDEX}")).hexdigest()
    elif all((Path(source) / name).is_file() for name in (INDEX, SAMPLES)):
        return file_sha256(Path(source) / INDEX)
    else:
        found = _files(Path(source))
    if not found:
        raise DataError(f"no data at {source}: give a folder or prefix that holds pictures")
    return json_sha256(found)


def _files(path: Path) -> dict[str, str]:
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    states = ((file, file.stat()) for file in files)
    return {str(file): f"{state.st_size} {state.st_mtime_ns}" for file, state in states}
