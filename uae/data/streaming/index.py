"""The index of a sharded data set: which samples stand where, known without opening a shard.

`index.json` names the shards with size and sha256; `samples.parquet` has a row for each sample. The
index is written last: without it there is no data set.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from uae.data.streaming.buckets import BucketGrid, Integers
from uae.data.streaming.names import INDEX, SAMPLES
from uae.errors import DataError

FORMAT = 1
BLOCK = 512  # tar's: a header, and what contents are filled up to
SHOWN_GRID = BucketGrid.of_budget(512)  # of the column `bucket`, which is for people

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("shard", pa.int32()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("bucket", pa.string()),
        ("caption_words", pa.int32()),
        ("split", pa.string()),
        ("image_offset", pa.int64()),
        ("image_bytes", pa.int64()),
        ("json_bytes", pa.int64()),
    ]
)


class Entry(NamedTuple):
    """A sample as its shard's writer knows it. Sizes in pixels, upright; offsets in bytes."""

    key: str
    width: int
    height: int
    caption_words: int
    split: str | None
    image_offset: int  # of the encoded picture in its shard
    image_bytes: int
    json_bytes: int  # the row follows the picture, after its own tar header


@dataclass(frozen=True)
class Shard:
    """One tar file."""

    name: str
    num_samples: int
    num_bytes: int
    sha256: str


class Location(NamedTuple):
    """Where a sample's two files stand in its shard, in bytes."""

    image_offset: int
    image_bytes: int
    json_offset: int
    json_bytes: int


class ShardIndex:
    """All shards and samples, in order. Samples are numbered from 0."""

    def __init__(self, shards: Sequence[Shard], samples: pa.Table) -> None:
        """Take the parts and check that they belong together.

        Raises:
            DataError: If they contradict each other.
        """
        self.shards = tuple(shards)
        self.samples = samples
        self.shard_of: Integers = _column(samples, "shard")
        self.widths: Integers = _column(samples, "width")
        self.heights: Integers = _column(samples, "height")
        self.caption_words: Integers = _column(samples, "caption_words")
        self._offsets: Integers = _column(samples, "image_offset")
        self._image_bytes: Integers = _column(samples, "image_bytes")
        self._json_bytes: Integers = _column(samples, "json_bytes")
        self._check()

    def __len__(self) -> int:
        return len(self.shard_of)

    @property
    def num_bytes(self) -> int:
        """Size of all shards together."""
        return sum(shard.num_bytes for shard in self.shards)

    def key(self, number: int) -> str:
        """Return the image_id of a sample."""
        return str(self.samples["key"][number].as_py())

    def where(self, number: int) -> str:
        """Name a sample and its shard, for an error."""
        return f"{self.shards[self.shard_of[number]].name}, sample {self.key(number)}"

    def location(self, number: int) -> Location:
        """Say where a sample's files stand in its shard."""
        offset, image = int(self._offsets[number]), int(self._image_bytes[number])
        return Location(offset, image, _json_offset(offset, image), int(self._json_bytes[number]))

    def numbers_of(self, split: str | None) -> Integers:
        """Return the samples whose row names this split; None: those without one."""
        named = self.samples["split"].to_pylist()
        return np.array([i for i, name in enumerate(named) if name == split], dtype=np.int64)

    def _check(self) -> None:
        counts = np.bincount(self.shard_of, minlength=len(self.shards)).tolist()
        if counts != [shard.num_samples for shard in self.shards]:
            raise DataError(f"{SAMPLES} and {INDEX} count other samples: run `uae shard` again")
        if np.any(np.diff(self.shard_of) < 0):
            raise DataError(f"{SAMPLES} is not in the order of the shards: run `uae shard` again")
        sizes = np.array([shard.num_bytes for shard in self.shards], dtype=np.int64)
        ends = _json_offset(self._offsets, self._image_bytes) + self._json_bytes
        smallest = min(
            (int(c.min()) for c in (self._offsets, self.widths, self.heights)), default=1
        )
        if smallest < 1 or np.any(ends > sizes[self.shard_of]):
            raise DataError(f"{SAMPLES} names places outside of the shards: run `uae shard` again")


def make_index(shards: Sequence[Shard], entries: Iterable[Sequence[Entry]]) -> ShardIndex:
    """Put the shards' entries together, which are given in the order of the shards."""
    rows = [(number, entry) for number, part in enumerate(entries) for entry in part]
    columns: dict[str, Any] = {
        name: [getattr(entry, name) for _, entry in rows] for name in Entry._fields
    }
    columns["shard"] = [number for number, _ in rows]
    sizes = [np.array(columns[name], dtype=np.int64) for name in ("width", "height")]
    shown = [f"{width}x{height}" for width, height in SHOWN_GRID.sizes]
    columns["bucket"] = [shown[place] for place in SHOWN_GRID.assign(*sizes)]
    table = pa.table({name: columns[name] for name in SCHEMA.names}, schema=SCHEMA)
    return ShardIndex(shards, table)


def dump_index(index: ShardIndex) -> tuple[bytes, bytes]:
    """Return the contents of `index.json` and `samples.parquet`; equal indexes give equal bytes."""
    file = io.BytesIO()
    pq.write_table(index.samples, file, compression="zstd")
    samples = file.getvalue()
    content = {
        "format": FORMAT,
        "num_samples": len(index),
        "num_bytes": index.num_bytes,
        "samples": {"file": SAMPLES, "sha256": hashlib.sha256(samples).hexdigest()},
        "shards": [asdict(shard) for shard in index.shards],
    }
    return json.dumps(content, indent=2).encode(), samples


def parse_index(content: bytes, where: str) -> dict[str, Any]:
    """Read `index.json`.

    Raises:
        DataError: If it is broken or of another format.
    """
    try:
        values = json.loads(content)
        if values["format"] != FORMAT:
            found = values["format"]
            raise DataError(
                f"{where}/{INDEX} is of format {found!r}, not {FORMAT}: run `uae shard`"
            )
        values["shards"] = [Shard(**shard) for shard in values["shards"]]
        return {**values, "sha256": str(values["samples"]["sha256"])}
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{where}/{INDEX} is broken ({error!r}): run `uae shard` again") from error


def load_index(content: bytes, samples: bytes, where: str) -> ShardIndex:
    """Read an index from the contents of its two files.

    Raises:
        DataError: If one is broken, or they do not belong together.
    """
    values = parse_index(content, where)
    if hashlib.sha256(samples).hexdigest() != values["sha256"]:
        raise DataError(f"{where}/{SAMPLES} is not what {INDEX} says: run `uae shard` again")
    table = pq.read_table(io.BytesIO(samples))
    if table.schema.remove_metadata() != SCHEMA:
        raise DataError(f"{where}/{SAMPLES} has other columns: run `uae shard` again")
    return ShardIndex(values["shards"], table)


def padded(num_bytes: Any) -> Any:
    """Return the bytes that a tar file gives to contents: whole blocks."""
    return -(-num_bytes // BLOCK) * BLOCK


def _json_offset(image_offset: Any, image_bytes: Any) -> Any:
    return image_offset + padded(image_bytes) + BLOCK


def _column(table: pa.Table, name: str) -> Integers:
    return np.asarray(table[name].to_numpy(), dtype=np.int64)
