"""Which phase a process is in, when, and the most memory that each takes.

On a GPU moments are CUDA events, which the GPU notes when it comes to them, so that nothing waits;
memory is counted when it is asked for. On a CPU moments are the clock's, and memory is not counted.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

REST = "rest"  # neither known nor planned: reading the batch, rewards' arithmetic, metrics


class Peak(NamedTuple):
    """Bytes of the GPU's memory."""

    allocated: int  # by tensors
    reserved: int  # by the allocator, gaps included


class Timeline:
    """Notes phases. A phase lasts until another begins."""

    def __init__(self, device: torch.device, phase: str = REST) -> None:
        self._device, self._phase = device, phase
        self._marks: list[tuple[str, Any]] = []  # empty between updates
        self._enclosing = 0  # phases that nothing within divides
        self.peaks: dict[str, Peak] = {}

    @property
    def counts_memory(self) -> bool:
        """Whether there are peaks."""
        return self._device.type == "cuda"

    def begin(self, phase: str = REST) -> None:
        """Let the GPU finish, and start to measure time anew."""
        self._synchronize()
        self._note_peak()
        self._marks, self._phase = [(phase, self._moment())], phase

    def mark(self, phase: str) -> None:
        """Go over to a phase; nothing happens within one that encloses, and between updates."""
        if self._marks and not self._enclosing and phase != self._phase:
            self._go(phase)

    @contextmanager
    def going_on(self, phase: str) -> Iterator[None]:
        """Go over to a phase that lasts beyond the context."""
        self.mark(phase)
        yield

    @contextmanager
    def enclosing(self, phase: str, *, divides: bool = False) -> Iterator[None]:
        """Go over to a phase that nothing within divides, unless it says so.

        Args:
            phase: Its name.
            divides: Whether it counts within another enclosing phase, which goes on after it.
        """
        if not self._marks or (self._enclosing and not divides):
            yield
            return
        before = self._phase if self._enclosing else REST
        self._go(phase)
        self._enclosing += 1
        try:
            yield
        finally:
            self._enclosing -= 1
            self._go(before)

    def end(self, after: str = REST) -> dict[str, float]:
        """Let the GPU finish; return the seconds of each phase since `begin`.

        Args:
            after: To which phase the memory counts until the next `begin`.
        """
        self._marks.append((REST, self._moment()))
        self._synchronize()
        self._note_peak()
        seconds: dict[str, float] = defaultdict(float)
        for (phase, start), (_, end) in zip(self._marks, self._marks[1:], strict=False):
            seconds[phase] += self._between(start, end)
        self._marks, self._phase = [], after
        return dict(seconds)

    def _go(self, phase: str) -> None:
        self._note_peak()
        self._marks.append((phase, self._moment()))
        self._phase = phase

    def _note_peak(self) -> None:
        if not (self.counts_memory and torch.cuda.is_initialized()):
            return
        found = Peak(
            torch.cuda.max_memory_allocated(self._device),
            torch.cuda.max_memory_reserved(self._device),
        )
        before = self.peaks.get(self._phase, found)
        self.peaks[self._phase] = Peak(*map(max, before, found))
        torch.cuda.reset_peak_memory_stats(self._device)

    def _moment(self) -> Any:
        if self._device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _between(self, start: Any, end: Any) -> float:
        if self._device.type != "cuda":
            return float(end - start)
        return float(start.elapsed_time(end)) / 1000

    def _synchronize(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def seconds_of(device: torch.device, work: Callable[[], object], repeats: int) -> float:
    """Return the seconds of one call, on average over `repeats`, after a call that warms up."""
    work()
    timeline = Timeline(device)
    timeline.begin()
    for _ in range(repeats):
        work()
    return sum(timeline.end().values()) / repeats
