"""What validation leaves of a sharded data set: where its shards are, and who is trained on.

    stream/stream.json          the shards' address, and hashes of what stands beside it
    stream/index.json           as `uae shard` wrote it
    stream/samples.parquet      the same
    stream/trained.parquet      numbers of the samples that updates see

The shards stay where they are. Each is checked against the index when it is opened.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from uae.data.streaming.buckets import Integers
from uae.data.streaming.dataset import StreamingDataset
from uae.data.streaming.index import ShardIndex, load_index
from uae.data.streaming.names import INDEX, SAMPLES
from uae.data.streaming.place import FolderPlace, open_place
from uae.errors import DataError
from uae.fingerprints import json_sha256

if TYPE_CHECKING:
    from uae.store.s3 import Store

FOLDER, DESCRIPTION, TRAINED = "stream", "stream.json", "trained.parquet"
FORMAT = 1


@dataclass(frozen=True)
class IndexFiles:
    """The contents of a sharded data set's two index files, and what they say."""

    address: str
    content: bytes
    samples: bytes
    index: ShardIndex

    @property
    def sha256(self) -> str:
        """The data set's revision: `index.json` has the hashes of all else."""
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True)
class StreamReference:
    """A validated data set whose pictures are read from shards."""

    address: str  # of the shards
    index: ShardIndex
    trained: Integers  # numbers of the samples that updates see, ascending
    identity: str  # hash of all that decides which samples an update sees

    def open(self, cache: Path, cache_gib: float, store: Store | None) -> StreamingDataset:
        """Open the shards: those of a folder where they are, those of a bucket through a cache.

        Args:
            cache: A folder on a disk of this machine, shared by its processes.
            cache_gib: GiB of shards that it may hold.
            store: Opens s3:// addresses. None takes AWS_ENDPOINT_URL and the usual credentials.

        Raises:
            DataError: If AWS_ENDPOINT_URL is needed and not set.
            StoreError: If the bucket cannot be opened.
        """
        place = open_place(self.address, store)
        used = None if isinstance(place, FolderPlace) else cache
        return StreamingDataset.of_index(self.index, place, used, cache_gib=cache_gib)


def read_index(source: str, store: Store | None) -> IndexFiles:
    """Read the index of shards at a source.

    Raises:
        DataError: If there is none, or a broken one.
        StoreError: If the bucket cannot be read.
    """
    place = open_place(source, store)
    content, samples = place.read(INDEX), place.read(SAMPLES)
    if content is None or samples is None:
        missing = INDEX if content is None else SAMPLES
        raise DataError(
            f"the recipe's data.streaming reads indexed shards, and {source} has no {missing}: "
            f"make them with `uae shard {source} PLACE` and give that place, run that command "
            "again if it has not ended, or write `streaming: null`"
        )
    return IndexFiles(place.address, content, samples, load_index(content, samples, place.address))


def write_reference(folder: Path, files: IndexFiles, trained: Integers) -> None:
    """Write the reference into the folder of a validated data set."""
    target = folder / FOLDER
    target.mkdir(parents=True)
    file = io.BytesIO()
    pq.write_table(pa.table({"number": np.sort(trained)}), file, compression="zstd")
    description = {
        "format": FORMAT,
        "address": files.address,
        "index_sha256": files.sha256,
        "trained_sha256": hashlib.sha256(file.getvalue()).hexdigest(),
    }
    contents = {
        INDEX: files.content,
        SAMPLES: files.samples,
        TRAINED: file.getvalue(),
        DESCRIPTION: json.dumps(description, indent=2).encode(),
    }
    for name, content in contents.items():
        (target / name).write_bytes(content)


def read_reference(data: Path) -> StreamReference:
    """Read the reference of a validated data set.

    Raises:
        DataError: If the data set was validated without `streaming`, or the reference is damaged.
    """
    folder = data / FOLDER
    if not folder.is_dir():
        raise DataError(
            f"{data} has no {FOLDER}/: validate it again with this recipe, whose data.streaming "
            "says that its shards are read one by one"
        )
    try:
        known = json.loads((folder / DESCRIPTION).read_bytes())
        content, trained = (folder / INDEX).read_bytes(), (folder / TRAINED).read_bytes()
        samples = (folder / SAMPLES).read_bytes()
        if known["format"] != FORMAT:
            raise ValueError(f"format {known['format']!r}, not {FORMAT}")
        for name, data_bytes in (("index", content), ("trained", trained)):
            if hashlib.sha256(data_bytes).hexdigest() != known[f"{name}_sha256"]:
                raise ValueError(f"another {name} than {DESCRIPTION} says")
        numbers = np.asarray(pq.read_table(io.BytesIO(trained))["number"], dtype=np.int64)
        address = str(known["address"])
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise DataError(f"{folder} is damaged ({error}): validate the data again") from error
    decisive = {name: known[name] for name in ("index_sha256", "trained_sha256")}
    index = load_index(content, samples, str(folder))
    return StreamReference(address, index, numbers, json_sha256(decisive))
