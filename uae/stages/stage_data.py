"""The samples of a stage: kept in memory, or streamed from shards as updates come.

A stage asks for the samples of an update by numbers, and looks at them through `Samples`. What it
computes of them with frozen models is kept for all of them before the first update, or computed
for each update's samples when it comes: `used` says which.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from uae.data.dataset import Dataset, Samples, load_dataset
from uae.data.sample import Sample
from uae.data.streaming.buckets import BucketGrid
from uae.data.streaming.dataset import BrokenSample, StreamingDataset
from uae.data.streaming.order import StreamOrder
from uae.data.streaming.prefetch import Batch, Prefetcher
from uae.data.streaming.reference import FOLDER, read_reference
from uae.data.words import count_words
from uae.errors import DataError
from uae.recipe import Recipe, StreamingRecipe, TrainedStage
from uae.store.caches import caches_folder
from uae.training.batches import SampleOrder
from uae.training.share import Share

if TYPE_CHECKING:
    from uae.store.s3 import Store

CACHE = "uae-shards"  # below the folder of the machine's caches


class StageData(ABC):
    """Where a stage's samples come from."""

    train: Samples
    heldout: Dataset
    revisions: dict[str, str]  # what decides which samples updates see

    @abstractmethod
    def batch(self, step: int) -> list[int]:
        """Return the samples of an update; this process's can be looked at until the next one."""

    @abstractmethod
    def lengths(self, step: int) -> list[int]:
        """Return the words of the captions of an update's samples, in order."""

    @abstractmethod
    def ids(self, numbers: Sequence[int]) -> list[str]:
        """Return the ids of training samples."""

    @abstractmethod
    def used(self) -> list[int] | None:
        """Return all training samples that the stage's updates see; None if none are kept."""

    @abstractmethod
    def some_used(self, count: int) -> tuple[Dataset, list[int]]:
        """Return samples that updates see: the same every time."""

    @abstractmethod
    def set_aside(self, count: int) -> tuple[Dataset, list[int]]:
        """Return training samples that no update sees, at most `count`."""

    @abstractmethod
    def some_captions(self) -> list[str]:
        """Return captions like those that updates see."""

    def metrics(self) -> dict[str, float]:
        """Return what is to be known of how the last batch was read."""
        return {}


class KeptData(StageData):
    """All samples, listed before the first update."""

    train: Dataset

    def __init__(self, data: Path, stage: str, recipe: Recipe) -> None:
        """Read the splits.

        Raises:
            DataError: If one is missing or damaged.
        """
        if (data / FOLDER).is_dir():
            raise DataError(
                f"{data} refers to shards that are read one by one, and the recipe's "
                "data.streaming is null: validate the data again with this recipe"
            )
        section: TrainedStage = getattr(recipe, stage)
        self.train, self.heldout = load_dataset(data / "train"), load_dataset(data / "heldout")
        self.revisions = {"train": self.train.revision, "heldout": self.heldout.revision}
        self._words: dict[int, int] = {}  # counted so far
        self._num_updates = section.num_updates
        size, aside = section.batch_size, recipe.num_set_aside
        self.order = SampleOrder(len(self.train), size, recipe.seed, stage, num_set_aside=aside)

    def batch(self, step: int) -> list[int]:
        """See `StageData`."""
        return self.order.batch(step)

    def lengths(self, step: int) -> list[int]:
        """See `StageData`."""
        return [self._num_words(number) for number in self.order.batch(step)]

    def ids(self, numbers: Sequence[int]) -> list[str]:
        """See `StageData`."""
        return [self.train[number].image_id for number in numbers]

    def used(self) -> list[int]:
        """See `StageData`."""
        return self.order.used(self._num_updates)

    def some_used(self, count: int) -> tuple[Dataset, list[int]]:
        """See `StageData`."""
        return self.train, self.used()[:count]

    def set_aside(self, count: int) -> tuple[Dataset, list[int]]:
        """See `StageData`."""
        return self.train, self.order.set_aside[:count]

    def some_captions(self) -> list[str]:
        """See `StageData`."""
        return [self.train[number].caption for number in self.used()]

    def _num_words(self, number: int) -> int:
        if number not in self._words:
            self._words[number] = count_words(self.train[number].caption)
        return self._words[number]


class StreamedData(StageData):
    """Samples that are read from shards, each when an update needs it.

    Held in memory are the index, the batches that wait, and open shards' names: nothing that
    grows with the number of updates.
    """

    train: "StreamedSamples"

    def __init__(
        self,
        data: Path,
        stage: str,
        recipe: Recipe,
        streaming: StreamingRecipe,
        share: Share,
        store: "Store | None",
    ) -> None:
        """Read the reference that validation left; no shard is opened.

        Raises:
            DataError: If it is missing or damaged, or there are too few samples.
            StoreError: If the shards' bucket cannot be opened.
        """
        section: TrainedStage = getattr(recipe, stage)
        reference = read_reference(data)
        side = recipe.data.image_size
        self.heldout = load_dataset(data / "heldout")
        aside = data / "set_aside"
        self._aside = load_dataset(aside) if aside.is_dir() else Dataset([])
        self.train = StreamedSamples(side)
        self.revisions = {"train": reference.identity, "heldout": self.heldout.revision}
        self._share, self._streaming, self._reference = share, streaming, reference
        cache = caches_folder() / CACHE
        self._shards: StreamingDataset = reference.open(cache, streaming.cache_gib, store)
        self.order = StreamOrder(
            reference.index,
            BucketGrid(((side, side),)),
            section.batch_size,
            seed=recipe.seed,
            name=stage,
            num_window_shards=streaming.window_shards,
            only=reference.trained,
        )
        self._stream: Prefetcher | None = None
        self._replaced: list[str] = []

    def batch(self, step: int) -> list[int]:
        """See `StageData`. Updates are asked for in order.

        Raises:
            DataError: Naming shard and sample, if one cannot be decoded and none may stand in.
            StoreError: If the bucket cannot be read.
        """
        found = next(self._from(step))
        self.train.hold(found)
        if self._streaming.on_broken == "error":
            return [ref.number for ref in self.order.batch(step)]
        everyone = self._share.world.exchange([found.numbers, found.broken])
        self._replaced = [name for _, broken in everyone for name in broken]
        if self._share.world.is_main:
            for name in self._replaced:
                print(f"update {step}: another sample stands in for {name}, which does not decode")
        numbers: list[int] = self._share.in_order([torch.tensor(n) for n, _ in everyone]).tolist()
        return numbers

    def lengths(self, step: int) -> list[int]:
        """See `StageData`."""
        numbers = [ref.number for ref in self.order.batch(step)]
        words: list[int] = self._reference.index.caption_words[numbers].tolist()
        return words

    def ids(self, numbers: Sequence[int]) -> list[str]:
        """See `StageData`."""
        return [self._reference.index.key(number) for number in numbers]

    def used(self) -> None:
        """See `StageData`."""

    def some_used(self, count: int) -> tuple[Dataset, list[int]]:
        """See `StageData`. They are those of the first updates; broken ones are left out."""
        samples = list(islice(self._used_samples(), count))
        return Dataset(samples), list(range(len(samples)))

    def set_aside(self, count: int) -> tuple[Dataset, list[int]]:
        """See `StageData`."""
        return self._aside, list(range(min(count, len(self._aside))))

    def some_captions(self) -> list[str]:
        """See `StageData`. They are those held out."""
        return self.heldout.captions

    def metrics(self) -> dict[str, float]:
        """See `StageData`."""
        if self._streaming.on_broken == "error":
            return {}
        return {"replaced_samples": float(len(self._replaced))}

    def close(self) -> None:
        """Stop reading ahead."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _from(self, step: int) -> Prefetcher:
        """Return what reads ahead, its next batch being that of `step`."""
        if self._stream is None or self._stream.state != step:
            self.close()
            self._stream = Prefetcher(
                self._shards,
                self.order,
                places=lambda number: self._share.places_of(self.lengths(number)),
                step=step,
                num_workers=self._streaming.num_workers,
                num_ahead=self._streaming.num_ahead,
                on_broken=self._streaming.on_broken,
            )
        return self._stream

    def _used_samples(self) -> Iterator[Sample]:
        """Yield those of the first epoch, in order, with their encoded pictures."""
        for step in range(self.order.batches_per_epoch):
            for ref in self.order.batch(step):
                try:
                    self._shards.decode(ref)
                except BrokenSample:
                    if self._streaming.on_broken == "replace":
                        continue
                    raise
                yield self._shards.read(ref.number)


class StreamedSamples:
    """This process's samples of the update that is being made."""

    def __init__(self, side: int) -> None:
        """Hold none yet; their pictures will be squares of `side` pixels."""
        self._side = side
        self._places: Mapping[int, int] = {}
        self._batch: Batch | None = None

    def hold(self, batch: Batch) -> None:
        """Take an update's samples, instead of those of the one before."""
        self._batch = batch
        self._places = {number: place for place, number in enumerate(batch.numbers)}

    def __getitem__(self, number: int, /) -> Sample:
        assert self._batch is not None
        return self._batch.samples[self._places[number]]

    def pixels(
        self, numbers: Iterable[int], image_size: int
    ) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return pictures (B, 3, image_size, image_size), float32 in [0, 1]."""
        assert self._batch is not None
        assert image_size == self._side
        places = [self._places[number] for number in numbers]
        return self._batch.pixels[places].astype(np.float32) / np.float32(255)


@contextmanager
def open_data(
    data: Path, stage: str, recipe: Recipe, share: Share, store: "Store | None"
) -> Iterator[StageData]:
    """Open a validated data set as the recipe says.

    Raises:
        DataError: If it is missing, damaged, or was validated in the other way.
        StoreError: If its shards' bucket cannot be opened.
    """
    if recipe.data.streaming is None:
        yield KeptData(data, stage, recipe)
        return
    streamed = StreamedData(data, stage, recipe, recipe.data.streaming, share, store)
    try:
        yield streamed
    finally:
        streamed.close()
