"""Aspect-ratio buckets: the few sizes that pictures are cropped and resized to.

A batch holds pictures of one size, so every picture goes to the size whose shape is nearest to its
own, and loses little to the crop. All sizes have about the same number of pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from uae.errors import DataError

Size: TypeAlias = tuple[int, int]  # width, height in pixels
Integers: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class BucketGrid:
    """Sizes, from the tallest to the widest."""

    sizes: tuple[Size, ...]

    def __post_init__(self) -> None:
        """Refuse what is no list of different shapes in order."""
        if not self.sizes or min(min(size) for size in self.sizes) < 1:
            raise DataError(f"aspect buckets {list(self.sizes)}: give at least one (width, height)")
        pairs = zip(self.sizes, self.sizes[1:], strict=False)
        if any(w * next_h >= next_w * h for (w, h), (next_w, next_h) in pairs):
            raise DataError(
                f"aspect buckets {list(self.sizes)}: order them by width / height, each once"
            )

    @classmethod
    def of_budget(cls, side: int, *, multiple: int = 64, max_ratio: float = 2.0) -> BucketGrid:
        """Return the largest sizes within a budget of pixels.

        A size belongs to the grid if neither its width nor its height could grow by `multiple`
        within the budget.

        Args:
            side: The budget is side x side pixels.
            multiple: Of which every width and height is one.
            max_ratio: No size is longer than this many times its shorter side.

        Raises:
            DataError: If side is no multiple of `multiple`, or max_ratio is below 1.

        Example:
            >>> BucketGrid.of_budget(512, max_ratio=1.5).sizes
            ((448, 576), (512, 512), (576, 448))
        """
        if multiple < 1 or side < multiple or side % multiple:
            raise DataError(f"aspect buckets: side={side} is no multiple of {multiple}")
        if max_ratio < 1:
            raise DataError(f"aspect buckets: max_ratio={max_ratio}: give 1 or more")
        budget = side * side

        def largest(other: int) -> int:
            return budget // other // multiple * multiple

        widths = range(multiple, budget // multiple + 1, multiple)
        sizes = [(w, largest(w)) for w in widths if largest(w) and largest(largest(w)) == w]
        return cls(tuple(size for size in sizes if max(size) <= max_ratio * min(size)))

    def assign(self, widths: Integers, heights: Integers) -> Integers:
        """Return for each picture the number of the size whose shape is nearest.

        Near is meant of the logarithm of width / height, so that a picture and the same one on its
        side are treated alike; between two equally near the one nearer to a square is taken.
        Computed in whole numbers: the same on every machine.

        Args:
            widths: (N,), in pixels.
            heights: (N,), in pixels.
        """
        found = np.zeros(len(widths), dtype=np.int64)
        w2, h2 = widths.astype(np.int64) ** 2, heights.astype(np.int64) ** 2
        for (w, h), (next_w, next_h) in zip(self.sizes, self.sizes[1:], strict=False):
            # (width / height)^2 against the geometric mean of two neighbouring shapes
            left, right = w2 * (h * next_h), h2 * (w * next_w)
            is_tall = w * next_w < h * next_h
            found += (left >= right) if is_tall else (left > right)
        return found

    def fitted(self, widths: Integers, heights: Integers, least: int) -> BucketGrid:
        """Leave out the size that fewest pictures go to until all have enough, or one is left.

        Args:
            widths: (N,), in pixels.
            heights: (N,), in pixels.
            least: Pictures that a size needs.
        """
        sizes = list(self.sizes)
        while True:
            grid = BucketGrid(tuple(sizes))
            counts = np.bincount(grid.assign(widths, heights), minlength=len(sizes)).tolist()
            if min(counts) >= least or len(sizes) == 1:
                return grid
            del sizes[counts.index(min(counts))]
