"""Writing one shard: the same bytes as `uae.data.shards` writes, hashed on the way."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator
from typing import IO, NamedTuple

from uae.data.images import image_format
from uae.data.sample import Fault
from uae.data.sharding.header import upright_size
from uae.data.sharding.plan import Job
from uae.data.sharding.rows import Row, digest_row, read_rows
from uae.data.sharding.source import Source
from uae.data.shards import EXTENSIONS
from uae.data.streaming.index import BLOCK, Entry, Shard, padded
from uae.data.words import count_words
from uae.errors import DataError


class Written(NamedTuple):
    """A shard as it was written, or the reasons why it was not."""

    shard: Shard | None
    entries: list[Entry]
    faults: list[Fault]


def write_shard_file(job: Job, source: Source, file: IO[bytes] | None) -> Written:
    """Write one shard; no more than a picture is held in memory, or a few from a bucket.

    Args:
        job: What it holds.
        source: Where its pictures are.
        file: Gets the bytes. None only looks for pictures that would be refused.

    Returns:
        The shard, or every picture whose header cannot be read; the file then holds only a part.

    Raises:
        DataError: If captions or pictures have changed since the plan was made.
        StoreError: If a bucket cannot be read.
    """
    entries: list[Entry] = []
    faults: list[Fault] = []
    hashed, place = hashlib.sha256(), 0

    def write(data: bytes) -> None:
        nonlocal place
        place += len(data)
        if file is not None and not faults:
            hashed.update(data)
            file.write(data)

    for row, image in _pairs(job, source):
        try:
            size = upright_size(image)
        except DataError as error:
            faults.append(Fault(row.image_id, "image header can be read", str(error)))
            continue
        words = count_words(row.caption)
        lengths = (len(image), len(row.content))
        entries.append(Entry(row.image_id, *size, words, row.split, place + BLOCK, *lengths))
        write(_members(row, image))
    if faults or file is None:
        return Written(None, [], faults)
    write(bytes(job.num_bytes - place))
    return Written(Shard(job.name, len(entries), place, hashed.hexdigest()), entries, [])


def _pairs(job: Job, source: Source) -> Iterator[tuple[Row, bytes]]:
    """Yield rows with their pictures, and check that they are those of the plan."""
    rows = [row for row in read_rows(source.captions, job.lines) if isinstance(row, Row)]
    digests = hashlib.sha256()
    for row, num_bytes in zip(rows, job.image_bytes, strict=False):
        digests.update(digest_row(row, num_bytes))
    if len(rows) != job.num_samples or digests.hexdigest() != job.rows:
        raise DataError(f"{source.captions} has changed since it was read: run again")
    images = source.read(row.image for row in rows)
    for row, num_bytes, image in zip(rows, job.image_bytes, images, strict=True):
        if len(image) != num_bytes:
            raise DataError(
                f"{row.image_id}: {row.image} has changed since it was listed: {len(image)} bytes, "
                f"not {num_bytes}; run again"
            )
        yield row, image


def _members(row: Row, image: bytes) -> bytes:
    """Return the picture and its row as two members of a tar file."""
    extension = EXTENSIONS[image_format(image) or ""]
    return b"".join(
        part
        for name, content in ((extension, image), ("json", row.content))
        for part in (
            _header(f"{row.image_id}.{name}", len(content)),
            content,
            bytes(padded(len(content)) - len(content)),
        )
    )


def _header(name: str, num_bytes: int) -> bytes:
    """Return a member's header, without time or owner: equal data give equal shards."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = num_bytes, 0o644
    return member.tobuf(tarfile.USTAR_FORMAT)
