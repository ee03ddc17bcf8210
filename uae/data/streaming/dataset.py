"""A sharded data set whose samples are read one by one, from wherever their shard is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from PIL import Image, ImageOps

from uae.data.images import decode_rgb
from uae.data.sample import Sample, make_sample, parse_json
from uae.data.streaming.buckets import BucketGrid, Integers, Size
from uae.data.streaming.cache import ShardCache, ShardFiles
from uae.data.streaming.index import ShardIndex, load_index
from uae.data.streaming.names import INDEX, SAMPLES
from uae.data.streaming.order import NUM_WINDOW_SHARDS, SampleRef, StreamOrder
from uae.data.streaming.place import Place, open_place, read_required
from uae.errors import DataError

if TYPE_CHECKING:
    from uae.store.s3 import Store

Pixels: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]
GIB = 2**30


class BrokenSample(DataError):
    """A picture or row that its shard holds as it should, and that cannot be used."""


class Decoded(NamedTuple):
    """A sample, ready for a batch."""

    sample: Sample  # without the encoded picture
    pixels: Pixels  # (3, H, W) RGB


class StreamingDataset:
    """Shards with an index, in a folder or a bucket. Safe to use from several threads."""

    def __init__(self, index: ShardIndex, files: ShardFiles, cache_bytes: int | None) -> None:
        """Take the parts; `open` makes them."""
        self.index = index
        self.cache_bytes = cache_bytes
        self._files = files

    @classmethod
    def open(
        cls,
        source: str,
        cache: Path | None = None,
        *,
        cache_gib: float = 64,
        store: Store | None = None,
    ) -> StreamingDataset:
        """Open what `uae shard` wrote. Only the index is read.

        Args:
            source: A folder, or s3://bucket/prefix.
            cache: A folder on a disk of this machine, shared by its processes. None reads the
                shards of a folder where they are.
            cache_gib: GiB of shards that the cache may hold.
            store: Opens s3:// sources. None takes AWS_ENDPOINT_URL and the usual credentials from
                the environment.

        Raises:
            DataError: If there is no index or a broken one, or a bucket is given no cache.
            StoreError: If the bucket cannot be read.
        """
        place = open_place(source, store)
        content, samples = read_required(place, INDEX), read_required(place, SAMPLES)
        index = load_index(content, samples, place.address)
        return cls.of_index(index, place, cache, cache_gib=cache_gib)

    @classmethod
    def of_index(
        cls, index: ShardIndex, place: Place, cache: Path | None = None, *, cache_gib: float = 64
    ) -> StreamingDataset:
        """Take an index that was read before; nothing is read.

        Raises:
            DataError: If a bucket is given no cache.
        """
        max_bytes = None if cache is None else int(cache_gib * GIB)
        kept = None if cache is None or max_bytes is None else ShardCache(cache, max_bytes)
        return cls(index, ShardFiles(place, kept), max_bytes)

    def __len__(self) -> int:
        return len(self.index)

    def order(
        self,
        grid: BucketGrid,
        batch_size: int,
        *,
        seed: int,
        name: str,
        num_window_shards: int = NUM_WINDOW_SHARDS,
        only: Integers | None = None,
    ) -> StreamOrder:
        """Return the order of the batches; see `StreamOrder`."""
        return StreamOrder(
            self.index, grid, batch_size,
            seed=seed, name=name, num_window_shards=num_window_shards, only=only,
        )  # fmt: skip

    def fetch(self, shards: Sequence[int]) -> None:
        """Bring shards into the cache and check them.

        Raises:
            DataError: If one is missing, or not what the index says.
            StoreError: If the bucket cannot be read.
        """
        for shard in shards:
            self._files.get(self.index.shards[shard])

    def read(self, number: int) -> Sample:
        """Return a sample with its encoded picture.

        Raises:
            BrokenSample: Naming shard and sample, if it is not what the index says.
            DataError: If the shard is missing, or not what the index says.
            StoreError: If the bucket cannot be read.
        """
        place = self.index.location(number)
        file = self._files.get(self.index.shards[self.index.shard_of[number]])
        end = place.json_offset + place.json_bytes
        both = file.read(place.image_offset, end - place.image_offset)
        where = self.index.where(number)
        row = both[place.json_offset - place.image_offset :]
        try:
            sample = make_sample(parse_json(row, where), where, both[: place.image_bytes])
        except DataError as error:
            raise BrokenSample(f"{where}: {error}") from error
        if sample.image_id != self.index.key(number):
            raise BrokenSample(f"{where}: the shard holds {sample.image_id!r} in its place")
        return sample

    def decode(self, ref: SampleRef) -> Decoded:
        """Read and decode a sample, crop it to its bucket's shape and resize it.

        Raises:
            BrokenSample: Naming shard and sample, if it cannot be decoded.
            DataError: If the shard is missing, or not what the index says.
            StoreError: If the bucket cannot be read.
        """
        sample = self.read(ref.number)
        where = self.index.where(ref.number)
        try:
            image = decode_rgb(sample.read_bytes())
        except DataError as error:
            raise BrokenSample(f"{where}: {error}") from error
        known = int(self.index.widths[ref.number]), int(self.index.heights[ref.number])
        if image.size != known:
            raise BrokenSample(f"{where}: is {image.size} pixels, its index says {known}")
        row = Sample(**{**sample.__dict__, "image": b""})
        return Decoded(row, bucket_pixels(image, ref.size))


def bucket_pixels(image: Image.Image, size: Size) -> Pixels:
    """Crop from the centre to the shape of a size, and resize; as `square_pixels` for squares.

    Args:
        image: RGB.
        size: Width and height in pixels. An image that has them is not resampled.

    Returns:
        (3, H, W) uint8.
    """
    if image.size != size:
        image = ImageOps.fit(image, size, Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))
