"""Which samples an update sees, as a function of the seed and the update's number.

Nothing is consumed: `batch(7)` is the same whether or not batches 0 to 6 were asked for, so a
resumed run sees the data in the order of an uninterrupted one.
"""

from functools import lru_cache

import torch

from uae.data.set_aside import count_set_aside
from uae.errors import DataError
from uae.seeds import make_generator


class SampleOrder:
    """Epochs of shuffled samples, cut into batches.

    The remainder of an epoch that fills no batch is left out, so that no sample stands twice in
    a batch. A data set smaller than a batch is repeated within it.
    """

    def __init__(
        self, num_samples: int, batch_size: int, seed: int, stage: str, *, num_set_aside: int = 0
    ) -> None:
        """Prepare the order.

        Args:
            num_samples: Size of the training split.
            batch_size: Samples in an update.
            seed: The recipe's.
            stage: Its name: every stage has an order of its own.
            num_set_aside: Samples that no batch holds, for early stopping; a tenth at most. Which
                they are depends on the seed alone: no stage trains on them.

        Raises:
            DataError: If there is no sample, or too few to set one aside.
        """
        if num_samples < 1:
            raise DataError(f"{stage}: the training split holds no sample; add pictures to it")
        try:
            count = count_set_aside(num_samples, num_set_aside)
        except DataError as error:
            raise DataError(f"{stage}: {error}") from error
        shuffled = torch.randperm(num_samples, generator=make_generator(seed, "set aside"))
        self.set_aside: list[int] = sorted(shuffled[:count].tolist())
        self._trained: list[int] = sorted(shuffled[count:].tolist())
        self._batch_size = batch_size
        self._seed = seed
        self._stage = stage
        self._epoch = lru_cache(maxsize=2)(self._shuffle)

    def batch(self, step: int) -> list[int]:
        """Return the indices of update `step`, counted from 0."""
        batches_per_epoch = max(len(self._trained) // self._batch_size, 1)
        epoch, place = divmod(step, batches_per_epoch)
        order = self._epoch(epoch)
        start = place * self._batch_size
        return [order[i % len(order)] for i in range(start, start + self._batch_size)]

    def used(self, num_updates: int) -> list[int]:
        """Return every index that the first `num_updates` batches hold, sorted."""
        return sorted({index for step in range(num_updates) for index in self.batch(step)})

    def _shuffle(self, epoch: int) -> list[int]:
        generator = make_generator(self._seed, self._stage, "order", epoch)
        order: list[int] = torch.randperm(len(self._trained), generator=generator).tolist()
        return [self._trained[place] for place in order]
