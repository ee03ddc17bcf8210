"""One batch ahead: the next batch is read and put through the model while this one is judged."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Self, TypeVar

Work = TypeVar("Work")


class Lookahead(Generic[Work]):
    """Prepares batches in a thread of its own, in the order in which they are expected.

    What is asked for out of that order is prepared then: the results never depend on the guess.
    """

    def __init__(self, prepare: Callable[[int], Work], *, step: int, end: int) -> None:
        """Expect positions `step` apart, below `end`."""
        self._prepare, self._step, self._end = prepare, step, end
        self._expected: tuple[int, Future[Work]] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lookahead")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)

    def take(self, position: int) -> Work:
        """Return what was prepared for a position, and begin with the next.

        Raises:
            Exception: Whatever preparing it raised.
        """
        expected, self._expected = self._expected, None
        if expected is not None and expected[0] == position:
            work = expected[1].result()
        else:
            work = self._thread.submit(self._prepare, position).result()
        following = position + self._step
        if following < self._end:
            self._expected = (following, self._thread.submit(self._prepare, following))
        return work
