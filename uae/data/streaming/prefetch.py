"""Batches decoded ahead of the training loop, by threads, in bounded memory.

Threads, because reading, hashing, decoding and resizing release Python's lock. At most
`num_ahead` batches of this process wait decoded, and the shards of the window after the current one
are brought into the cache meanwhile.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

import numpy as np

from uae.data.sample import Sample
from uae.data.streaming.buckets import Size
from uae.data.streaming.dataset import BrokenSample, Decoded, Pixels, StreamingDataset
from uae.data.streaming.order import SampleRef, StreamOrder, Window
from uae.errors import DataError

NUM_CACHED_WINDOWS = 4
NUM_FETCHERS = 2  # downloads at a time, beside those that decoding waits for


class Batch(NamedTuple):
    """This process's samples of an update's batch."""

    step: int
    size: Size  # width, height in pixels
    pixels: Pixels  # (B, 3, H, W) uint8
    samples: list[Sample]  # without encoded pictures
    numbers: list[int]  # theirs in the index
    broken: list[str]  # shard and id of those that others stand in for

    @property
    def captions(self) -> list[str]:
        """Captions, in order."""
        return [sample.caption for sample in self.samples]

    @property
    def image_ids(self) -> list[str]:
        """Ids, in order."""
        return [sample.image_id for sample in self.samples]

    def as_float(self) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return the pixels as (B, 3, H, W) float32 in [0, 1]."""
        return self.pixels.astype(np.float32) / np.float32(255)


class _Found(NamedTuple):
    """A sample of a batch, or what stands in for it."""

    number: int
    decoded: Decoded
    broken: str | None  # what it stands in for


def share_of(batch_size: int, rank: int, world_size: int) -> range:
    """Return the places of a batch that a process computes: equal, consecutive shares.

    Raises:
        DataError: If the batch cannot be shared out equally.
    """
    if not 0 <= rank < world_size or batch_size % world_size:
        raise DataError(
            f"a batch of {batch_size} cannot be shared out among {world_size} processes (this is "
            f"number {rank}): make batch_size a multiple of their number"
        )
    size = batch_size // world_size
    return range(rank * size, (rank + 1) * size)


class Prefetcher(Iterator[Batch]):
    """Yields the batches of consecutive updates without end. Close it, or use it in a `with`."""

    def __init__(
        self,
        dataset: StreamingDataset,
        order: StreamOrder,
        *,
        places: Sequence[int] | Callable[[int], Sequence[int]],
        step: int = 0,
        num_workers: int = 4,
        num_ahead: int = 2,
        on_broken: Literal["error", "replace"] = "error",
    ) -> None:
        """Begin to read.

        Args:
            dataset: Where samples are read from.
            order: Which they are.
            places: Of this process's samples in every batch: `share_of` gives them. Or what tells
                them by the number of the update.
            step: The first update.
            num_workers: Threads that decode.
            num_ahead: Batches that are decoded before they are asked for.
            on_broken: What to do with a sample that cannot be decoded: raise the error, or let
                the next good one of the same batch stand in for it, the same in however many
                processes, and name it in the batch.

        Raises:
            DataError: If the cache cannot hold four windows of shards: the one that is read, the
                next one, and those before, of which some samples still wait for their batch.
        """
        _check_cache(dataset, order)
        if num_workers < 1 or num_ahead < 1:
            raise DataError(f"{num_workers=}, {num_ahead=}: give 1 or more of each")
        self._dataset, self._order = dataset, order
        self._places = places if callable(places) else lambda _: places
        self._replaces, self._num_ahead = on_broken == "replace", num_ahead
        self._next, self._asked = step, step
        self._window: Window | None = None
        self._decoders = ThreadPoolExecutor(num_workers, thread_name_prefix="decode")
        self._fetchers = ThreadPoolExecutor(NUM_FETCHERS, thread_name_prefix="fetch")
        self._waiting: deque[tuple[Size, list[Future[_Found]]]] = deque()
        self._ask()

    @property
    def state(self) -> int:
        """The step of the next batch: all that a checkpoint needs."""
        return self._next

    def __next__(self) -> Batch:
        """Return the next batch.

        Raises:
            DataError: Naming shard and sample, if one is broken; asked again, the same error.
            StoreError: If the bucket cannot be read.
        """
        size, futures = self._waiting[0]
        found = [future.result() for future in futures]
        self._waiting.popleft()
        batch = Batch(
            self._next,
            size,
            pixels=np.stack([one.decoded.pixels for one in found]),
            samples=[one.decoded.sample for one in found],
            numbers=[one.number for one in found],
            broken=[one.broken for one in found if one.broken is not None],
        )
        self._next += 1
        self._ask()
        return batch

    def close(self) -> None:
        """Stop reading. What is being decoded or downloaded is waited for."""
        self._fetchers.shutdown(cancel_futures=True)
        self._decoders.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _ask(self) -> None:
        while len(self._waiting) < self._num_ahead:
            window = self._order.window(self._asked)
            if window != self._window:
                self._window = window
                for shard in self._order.next_window(window).shards:
                    # What fails here fails again, and is heard of, when a sample is read.
                    self._fetchers.submit(self._dataset.fetch, [shard])
            batch = self._order.batch(self._asked)
            places = self._places(self._asked)
            futures = [self._decoders.submit(self._decode, batch, place) for place in places]
            self._waiting.append((batch[0].size, futures))
            self._asked += 1

    def _decode(self, batch: list[SampleRef], place: int) -> _Found:
        """Decode one sample, or what stands in for it; and name the broken one."""
        if not self._replaces:
            return _Found(batch[place].number, self._dataset.decode(batch[place]), None)
        errors: list[BrokenSample] = []
        for ref in itertools.chain(batch[place:], batch[:place]):
            try:
                decoded = self._dataset.decode(ref)
            except BrokenSample as error:
                errors.append(error)
                continue
            broken = self._dataset.index.where(batch[place].number) if errors else None
            return _Found(ref.number, decoded, broken)
        raise errors[0]


def _check_cache(dataset: StreamingDataset, order: StreamOrder) -> None:
    if dataset.cache_bytes is None:
        return
    largest = max(shard.num_bytes for shard in dataset.index.shards)
    least = min(dataset.index.num_bytes, NUM_CACHED_WINDOWS * order.num_window_shards * largest)
    if dataset.cache_bytes < least:
        raise DataError(
            f"a cache of {dataset.cache_bytes / 2**30:.2f} GiB is too small: "
            f"{NUM_CACHED_WINDOWS} windows of {order.num_window_shards} shards take "
            f"{least / 2**30:.2f} GiB; enlarge it, or shuffle fewer shards together"
        )
