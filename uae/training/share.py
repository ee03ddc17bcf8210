"""Which samples of an update's batch this process computes, and in how many passes."""

import math
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from uae.errors import TrainingError
from uae.flow_matching.noise import NoiseSource, SharedGenerator
from uae.recipe import TrainedStage
from uae.training.distribution import World

Sample = TypeVar("Sample")


class Part(NamedTuple):
    """The samples of one backward pass."""

    rows: slice  # of this process's samples
    minibatch: int  # number of the minibatch that it is part of
    num_parts: int  # backward passes of the minibatch, equally large, in all processes together


class Share:
    """Which samples of every update's batch this process computes, and in which parts.

    The processes share out each minibatch, so that every optimizer step sees the samples that it
    sees with one process. With one process the share is the batch, and nothing is copied. Each
    process has equally many samples: those that stand side by side, or where `assign` was told
    their lengths, such that all processes have about as much to do.

    Example:
        Of a batch of 8 in 2 minibatches, the second of 2 processes computes samples 2, 3, 6, 7:
        its rows 0, 1 belong to the first optimizer step and its rows 2, 3 to the second.
    """

    def __init__(self, stage: str, section: TrainedStage, world: World) -> None:
        """Share out the batches of a stage.

        Raises:
            TrainingError: If the processes cannot have equally many samples of each minibatch.
        """
        self.world, self.num_samples = world, section.batch_size
        minibatch_size = section.batch_size // section.num_minibatches
        if minibatch_size % world.size:
            raise _indivisible(stage, section, world)
        own_size = minibatch_size // world.size
        self._starts = range(0, section.batch_size, minibatch_size)
        self._places = self._shared_out([0] * section.batch_size)
        size = _part_size(own_size, minibatch_size // section.accumulation_steps)
        num_parts = minibatch_size // size
        self.minibatches = [
            [
                Part(slice(i, i + size), number, num_parts)
                for i in range(start, start + own_size, size)
            ]
            for number, start in enumerate(range(0, len(self.places), own_size))
        ]

    @property
    def rows_of_later_minibatches(self) -> list[slice]:
        """This process's rows in each backward pass that comes after an optimizer step."""
        return [part.rows for parts in self.minibatches[1:] for part in parts]

    @property
    def places(self) -> list[int]:
        """Places of this process's samples in the batch, minibatch after minibatch."""
        return self._places[self.world.rank]

    def assign(self, lengths: Sequence[int]) -> None:
        """Share out the next batch by the lengths of its samples' captions.

        In every minibatch the longest goes first, and each sample to the process that has least so
        far, of those that have fewer than their number; unless the heaviest process would have no
        less than with the samples that stand side by side.

        Args:
            lengths: The same in every process, in any unit.
        """
        self._places = self._shared_out(lengths)

    def places_of(self, lengths: Sequence[int]) -> list[int]:
        """Return this process's places in a batch of these lengths; see `assign`."""
        return self._shared_out(lengths)[self.world.rank]

    def of(self, samples: Sequence[Sample]) -> list[Sample]:
        """Return this process's samples of a batch."""
        return [samples[place] for place in self.places]

    def rows(self, whole: Tensor, dim: int = 0) -> Tensor:
        """Return this process's rows of a tensor with equally many for each sample of a batch."""
        if self.world.size == 1:
            return whole
        each = whole.shape[dim] // self.num_samples
        return whole.index_select(dim, _rows_of(self.places, each).to(whole.device))

    def whole(self, *tensors: Tensor) -> list[Tensor]:
        """Put the processes' rows together: each tensor's, for all samples of a batch in order."""
        if self.world.size == 1:
            return list(tensors)
        return [self.in_order(parts) for parts in zip(*self.world.gather(tensors), strict=True)]

    def in_order(self, parts: Sequence[Tensor]) -> Tensor:
        """Join the rows that the processes hold, by rank, in the order of the batch's samples."""
        joined = torch.cat(list(parts))
        places = [place for places in self._places for place in places]
        return joined[_rows_of(places, len(joined) // self.num_samples).argsort()]

    def total(self, count: int) -> int:
        """Add up a count over the processes."""
        return sum(self.world.exchange(count))

    def draws(self, generator: torch.Generator) -> NoiseSource:
        """Return what draws, for this process's samples, as `generator` does for the batch."""
        if self.world.size == 1:
            return generator
        return SharedGenerator(generator, self.places, self.num_samples)

    def _shared_out(self, lengths: Sequence[int]) -> list[list[int]]:
        found: list[list[int]] = [[] for _ in range(self.world.size)]
        size = self.num_samples // len(self._starts)
        for start in self._starts:
            parts = _balanced(lengths[start : start + size], self.world.size)
            for places, part in zip(found, parts, strict=True):
                places += [start + place for place in part]
        return found


def _balanced(lengths: Sequence[int], num_processes: int) -> list[list[int]]:
    """Share samples out, equally many to each process, and lengths about equally."""
    room = len(lengths) // num_processes
    side_by_side = [[*range(r * room, (r + 1) * room)] for r in range(num_processes)]
    found: list[list[int]] = [[] for _ in range(num_processes)]
    totals = [0] * num_processes
    for place in sorted(range(len(lengths)), key=lambda p: -lengths[p]):
        least = min(
            (r for r in range(num_processes) if len(found[r]) < room), key=totals.__getitem__
        )
        found[least].append(place)
        totals[least] += lengths[place]
    heaviest = max(sum(lengths[place] for place in part) for part in side_by_side)
    return [sorted(part) for part in found] if max(totals) < heaviest else side_by_side


def _rows_of(places: Sequence[int], each: int) -> Tensor:
    """Return the rows of samples where every sample has `each` of them, one after another."""
    return (torch.tensor(places)[:, None] * each + torch.arange(each)).flatten()


def _part_size(own_size: int, largest: int) -> int:
    """Return how many samples go through the model at once: no more than with one process."""
    return max(size for size in range(1, largest + 1) if own_size % size == 0)


def _indivisible(stage: str, section: TrainedStage, world: World) -> TrainingError:
    every = section.num_minibatches * math.lcm(world.size, section.accumulation_steps)
    nearest = max(round(section.batch_size / every), 1) * every
    return TrainingError(
        f"{stage}: batch_size={section.batch_size} with num_minibatches="
        f"{section.num_minibatches} cannot be shared out among {world.size} processes, whole "
        f"samples each: the nearest batch_size that can is {nearest}; or start another number "
        "of processes"
    )
