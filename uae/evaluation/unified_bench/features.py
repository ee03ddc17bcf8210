"""Features of stored pictures: decoded and prepared in threads while the models work.

What goes through a model together is cut by position alone, so threads change no number.
Shape letters: B pictures, D feature width.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from uae.evaluation.pictures import Pixels, read_png
from uae.evaluation.unified_bench.scorers import SlotScorer

MAX_THREADS = 8


class FeatureReader:
    """Reads pictures from files and puts them through all scorers; each is decoded once."""

    def __init__(self, scorers: Mapping[str, SlotScorer], batch_size: int) -> None:
        self._scorers, self._batch_size = scorers, batch_size
        self._threads = min(MAX_THREADS, os.cpu_count() or 1)
        self._decoded: dict[Path, Future[Pixels]] = {}
        # Two pools, because what prepares waits for what decodes.
        self._decoders = ThreadPoolExecutor(self._threads)
        self._preparers = ThreadPoolExecutor(self._threads)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pool in (self._preparers, self._decoders):
            pool.shutdown(wait=True, cancel_futures=True)

    def expect(self, paths: Sequence[Path]) -> None:
        """Begin to decode pictures that will be asked for next."""
        for path in paths:
            if path not in self._decoded:
                self._decoded[path] = self._decoders.submit(read_png, path)

    def features(
        self, groups: Sequence[Sequence[Path]], upcoming: Sequence[Path] = ()
    ) -> dict[str, list[Tensor]]:
        """Return, for each slot, the unit-length features (B, D) of each group of pictures.

        Args:
            groups: Files; a model sees only pictures of one group together.
            upcoming: Files of the next call, decoded meanwhile.

        Raises:
            EvaluationError: If a file cannot be decoded, or a feature is zero or not finite.
        """
        for group in groups:
            self.expect(group)
        decoded = [[self._decoded[path] for path in group] for group in groups]
        self._decoded.clear()
        self.expect(upcoming)
        work = [
            (slot, number, partial(_prepare, scorer, futures[part]))
            for slot, scorer in self._scorers.items()
            for number, futures in enumerate(decoded)
            for part in scorer.cut(len(futures), self._batch_size)
        ]
        found: dict[str, list[list[Tensor]]] = {
            slot: [[] for _ in groups] for slot in self._scorers
        }
        inputs = _ahead(self._preparers, [call for _, _, call in work], self._threads + 1)
        for (slot, number, _), prepared in zip(work, inputs, strict=True):
            found[slot][number].append(self._scorers[slot].encode(prepared))
        return {
            slot: [self._scorers[slot].unit_length(torch.cat(parts)) for parts in lists]
            for slot, lists in found.items()
        }


def _prepare(scorer: SlotScorer, decoded: Sequence[Future[Pixels]]) -> Any:
    return scorer.prepare([future.result() for future in decoded])


def _ahead(
    pool: ThreadPoolExecutor, calls: Sequence[Callable[[], Any]], depth: int
) -> Iterator[Any]:
    """Yield the calls' results in order; up to `depth` of them are made before they are wanted."""
    waiting: deque[Future[Any]] = deque()
    for call in calls:
        waiting.append(pool.submit(call))
        if len(waiting) > depth:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
