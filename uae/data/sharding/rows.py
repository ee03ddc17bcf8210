"""Reading `captions.jsonl` in blocks of lines, each by whoever is free."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from uae.data.folder import CAPTIONS
from uae.data.sample import (
    BadRow,
    Fault,
    is_safe_relative,
    is_unicode,
    make_sample,
    parse_json,
)
from uae.data.sharding.source import Source
from uae.data.shards import MAX_JSON_BYTES
from uae.data.streaming.index import BLOCK, padded

BLOCK_BYTES = 2**21
DIGEST_BYTES = 16


class Lines(NamedTuple):
    """Consecutive lines of a file: a byte range, and the first one's number, from 1."""

    start: int
    num_bytes: int
    first_line: int


class Row(NamedTuple):
    """A line that is a good row."""

    image_id: str
    image: str  # relative path
    caption: str
    split: str | None
    content: bytes  # what stands in the shard
    end: int  # of its line, in bytes from the start of the file


class Scan(NamedTuple):
    """What a block of lines says, column by column; one entry for each good row."""

    image_ids: list[str]
    image_bytes: list[int]
    tar_bytes: list[int]
    ends: list[int]
    digests: list[bytes]  # of row and size
    states: list[str]
    faults: list[Fault]


def cut_lines(captions: Path) -> Iterator[Lines]:
    """Divide a file into blocks of whole lines."""
    start, first_line = 0, 1
    with captions.open("rb") as file:
        while lines := file.readlines(BLOCK_BYTES):
            num_bytes = sum(map(len, lines))
            yield Lines(start, num_bytes, first_line)
            start, first_line = start + num_bytes, first_line + len(lines)


def read_rows(captions: Path, block: Lines) -> Iterator[Row | Fault]:
    """Yield the rows of a block, and what is wrong with the lines that are none."""
    with captions.open("rb") as file:
        file.seek(block.start)
        lines = file.read(block.num_bytes).split(b"\n")
    end = block.start
    for number, line in enumerate(lines, start=block.first_line):
        end += len(line) + 1
        if line.strip():
            try:
                yield _parse_row(line, f"{CAPTIONS} line {number}", end)
            except BadRow as error:
                yield error.fault


def scan(source: Source, block: Lines) -> Scan:
    """Check the rows of a block, and look their pictures up."""
    found = Scan([], [], [], [], [], [], [])
    for row in read_rows(source.captions, block):
        if isinstance(row, Fault):
            found.faults.append(row)
            continue
        try:
            picture = source.find(row.image, row.image_id)
        except BadRow as error:
            found.faults.append(error.fault)
            continue
        found.image_ids.append(row.image_id)
        found.image_bytes.append(picture.num_bytes)
        files = padded(picture.num_bytes) + padded(len(row.content))
        found.tar_bytes.append(2 * BLOCK + files)
        found.ends.append(row.end)
        found.digests.append(digest_row(row, picture.num_bytes))
        found.states.append(picture.state)
    return found


def digest_row(row: Row, image_bytes: int) -> bytes:
    """Return a hash of a row and its picture's name and size."""
    text = b"%s\0%s\0%d" % (row.content, row.image.encode(), image_bytes)
    return hashlib.blake2b(text, digest_size=DIGEST_BYTES).digest()


def _parse_row(line: bytes, where: str, end: int) -> Row:
    values = parse_json(line, where)
    image_id, name = values.get("image_id"), values.pop("image", None)
    named = image_id if isinstance(image_id, str) and image_id else where
    if not isinstance(name, str):
        raise BadRow(named, "image is a relative path", f"got {name!r:.100}")
    if not is_unicode(name):
        raise BadRow(named, "image is valid Unicode", f"half a surrogate pair in {name!r:.200}")
    if not is_safe_relative(name):
        raise BadRow(named, "image path stays inside the data folder", f"got {name!r:.200}")
    sample = make_sample(values, where, b"")
    text = json.dumps(sample.row(), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    row = text.encode()
    if len(row) > MAX_JSON_BYTES:
        raise BadRow(named, f"row is at most {MAX_JSON_BYTES} bytes", f"got {len(row)}")
    return Row(sample.image_id, name, sample.caption, sample.split, row, end)
