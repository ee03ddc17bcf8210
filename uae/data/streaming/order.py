"""Which samples stand in which batch: a function of seed and step over the index.

In every epoch the shards are shuffled and cut into windows of a few; the samples of a window are
shuffled together; and in that order each sample joins the others of its aspect bucket, which leave
as a batch when there are enough. So a batch has one size, its samples come from the shards of its
window (and, at a window's start, of those just before), and nothing is consumed: `batch(7)` is
the same whether or not batches 0 to 6 were asked for, in however many processes.

What fills no batch at the end of an epoch is left out: fewer samples than a batch of every bucket,
others in every epoch.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from uae.data.streaming.buckets import BucketGrid, Integers, Size
from uae.data.streaming.index import ShardIndex
from uae.errors import DataError
from uae.seeds import derive_seed

NUM_WINDOW_SHARDS = 8


class SampleRef(NamedTuple):
    """A sample of a batch."""

    number: int  # in the index
    shard: int
    size: Size  # of its bucket: width, height in pixels


class Window(NamedTuple):
    """Shards whose samples are shuffled together, in an epoch."""

    epoch: int
    place: int
    shards: tuple[int, ...]


class _Epoch(NamedTuple):
    samples: Integers  # (num_batches, batch_size): numbers in the index
    buckets: Integers  # (num_batches,)
    windows: Integers  # (num_batches,): where a batch's last sample stands
    shards: Integers  # (num_shards,): their order


class StreamOrder:
    """Batches of one aspect bucket each, epoch after epoch."""

    def __init__(
        self,
        index: ShardIndex,
        grid: BucketGrid,
        batch_size: int,
        *,
        seed: int,
        name: str,
        num_window_shards: int = NUM_WINDOW_SHARDS,
        only: Integers | None = None,
    ) -> None:
        """Prepare the order.

        Args:
            index: All samples.
            grid: Sizes. Those that too few samples are nearest to for a batch in each window are
                left out, and their samples go to the next size: they would wait for others over
                many windows, and their shards would have to be fetched again.
            batch_size: Samples in a batch, of all processes together.
            seed: The recipe's.
            name: Of the stage: every one has an order of its own.
            num_window_shards: Shards that are shuffled together. More shuffle better, and need
                more room in the cache: see `Prefetcher`.
            only: Numbers of the samples to use, of the training split for example. None: all.

        Raises:
            DataError: If there are fewer samples than a batch, or one stands twice.
        """
        self.index, self.batch_size = index, batch_size
        self.num_window_shards = num_window_shards
        self._seed, self._name = seed, name
        self._only = np.arange(len(index)) if only is None else np.sort(only)
        if batch_size < 1 or num_window_shards < 1:
            raise DataError(f"{name}: {batch_size=}, {num_window_shards=}: give 1 or more of each")
        if len(self._only) < batch_size:
            raise DataError(
                f"{name}: {len(self._only)} samples fill no batch of {batch_size}: add pictures, "
                "or make batch_size smaller"
            )
        if np.any(np.diff(self._only) == 0):
            raise DataError(f"{name}: a sample stands twice among those to use")
        widths, heights = index.widths[self._only], index.heights[self._only]
        num_windows = -(-len(index.shards) // num_window_shards)
        self.grid = grid.fitted(widths, heights, batch_size * num_windows)
        self._buckets = self.grid.assign(widths, heights)
        self._shard_of = index.shard_of[self._only]
        self._num_shards = len(index.shards)
        counts = np.bincount(self._buckets, minlength=len(self.grid.sizes))
        self.batches_per_epoch = int((counts // batch_size).sum())
        self.left_out_per_epoch = len(self._only) - self.batches_per_epoch * batch_size
        self._epoch = lru_cache(maxsize=2)(self._make_epoch)

    def batch(self, step: int) -> list[SampleRef]:
        """Return the samples of update `step`, counted from 0."""
        number, place = divmod(step, self.batches_per_epoch)
        epoch = self._epoch(number)
        size = self.grid.sizes[epoch.buckets[place]]
        samples = epoch.samples[place].tolist()
        return [SampleRef(sample, int(self.index.shard_of[sample]), size) for sample in samples]

    def window(self, step: int) -> Window:
        """Return the window in which the batch of update `step` is completed."""
        number, place = divmod(step, self.batches_per_epoch)
        return self._window(number, int(self._epoch(number).windows[place]))

    def next_window(self, window: Window) -> Window:
        """Return the window after another, in the same epoch or the next."""
        is_last = (window.place + 1) * self.num_window_shards >= self._num_shards
        if is_last:
            return self._window(window.epoch + 1, 0)
        return self._window(window.epoch, window.place + 1)

    def _window(self, epoch: int, place: int) -> Window:
        start = place * self.num_window_shards
        shards = self._epoch(epoch).shards[start : start + self.num_window_shards]
        return Window(epoch, place, tuple(shards.tolist()))

    def _make_epoch(self, epoch: int) -> _Epoch:
        shards = np.argsort(self._keys(self._num_shards, epoch, "shards"), kind="stable")
        place_of = np.empty(self._num_shards, dtype=np.int64)
        place_of[shards] = np.arange(self._num_shards)
        window_of = place_of[self._shard_of] // self.num_window_shards
        order = np.lexsort((self._keys(len(self._only), epoch, "samples"), window_of))
        # Samples of each bucket side by side, in order; the last of every batch completes it.
        by_bucket = order[np.argsort(self._buckets[order], kind="stable")]
        place_in_order = np.empty(len(order), dtype=np.int64)
        place_in_order[order] = np.arange(len(order))
        parts = [
            part[: len(part) // self.batch_size * self.batch_size].reshape(-1, self.batch_size)
            for bucket in range(len(self.grid.sizes))
            for part in [by_bucket[self._buckets[by_bucket] == bucket]]
        ]
        batches = np.concatenate(parts)
        batches = batches[np.argsort(place_in_order[batches[:, -1]])]
        last = batches[:, -1]
        return _Epoch(self._only[batches], self._buckets[last], window_of[last], shards)

    def _keys(
        self, count: int, epoch: int, what: str
    ) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
        """Draw numbers to sort by. numpy promises the raw ones, unlike its own shuffling."""
        seed = derive_seed(self._seed, self._name, "stream", what, epoch)
        return np.random.PCG64(seed).random_raw(count)
