"""What processes that train together say when they fail, and which of it is the reason.

When one of them fails the others fail too: they lose their peer, or are asked to end. The reason
comes back to the step as the error that it was, by type and message, so that a retry knows whether
it can help. The exit code says the same to whoever starts processes or pods again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import uae.errors
from uae.errors import ClusterError, UaeError
from uae.records import RETRYABLE

BUILT_IN = {"ConnectionError": ConnectionError, "TimeoutError": TimeoutError}
# By name, as torch is not imported here. The first two are in `uae.training.messages`.
FOLLOWING = ("OtherProcessFailed", "ConnectionLost")
# What an accelerator or its network reports when it breaks: another one may do.
HARDWARE = ("AcceleratorError", "DistBackendError", "DistNetworkError", "DistStoreError")

# Exit codes of a process, and of torchrun where `uae.launch.agent` starts it. The training runtime
# of the manifests knows the last two.
FAILED = 1  # another try may help
FINAL = 65  # no other try helps: EX_DATAERR of sysexits.h
INTERRUPTED = 143  # SIGTERM: the node is needed for something else


@dataclass(frozen=True)
class WorkerFailure:
    """How one process failed."""

    rank: int
    type: str
    message: str
    retryable: bool
    at: str  # UTC, ISO 8601

    @classmethod
    def of(cls, error: BaseException, rank: int) -> WorkerFailure:
        """Describe an error."""
        name, now = type(error).__name__, datetime.now(UTC).isoformat()
        retryable = isinstance(error, RETRYABLE) or name in HARDWARE
        return cls(rank, name, str(error) or name, retryable, now)

    @property
    def interrupted(self) -> bool:
        """Whether the process was asked to end."""
        return self.type == "KeyboardInterrupt"

    @property
    def follows(self) -> bool:
        """Whether it failed because another process did, see `uae.training.messages`."""
        return self.type in FOLLOWING

    @property
    def final(self) -> bool:
        """Whether it would come again in the next try, such as an error in the recipe."""
        return not (self.retryable or self.follows)

    @property
    def exit_code(self) -> int:
        """The exit code of the process."""
        if self.interrupted:
            return INTERRUPTED
        return FINAL if self.final else FAILED

    def as_error(self) -> Exception:
        """Return the error as the step raises it; what a retry may cure stays so."""
        known = getattr(uae.errors, self.type, None) or BUILT_IN.get(self.type)
        if isinstance(known, type) and issubclass(known, UaeError | OSError):
            return known(self.message)
        text = f"{self.type}: {self.message}"
        return ClusterError(text) if self.retryable else RuntimeError(text)


def reason(failures: Sequence[WorkerFailure]) -> Exception:
    """Return the error that the others followed from; a `ClusterError` where none is known.

    A process that was killed, for instance for its memory or with its node, leaves nothing.
    """
    first = sorted(failures, key=lambda failure: (failure.at, failure.rank))
    for failure in first:
        if not (failure.follows or failure.interrupted):
            return failure.as_error()
    stopped = [failure for failure in first if failure.interrupted]
    if stopped:
        return ClusterError(
            f"the process of rank {stopped[0].rank} was stopped from outside "
            f"({stopped[0].message}): its node was drained, preempted or its job deleted"
        )
    if first:
        return ClusterError(
            f"a process was lost while it trained; rank {first[0].rank} noticed: {first[0].message}"
        )
    return ClusterError(
        "a process that trained ended without a word: it was killed, for instance for its memory "
        "or with its node, or could not reach the store"
    )


def final_failure(failures: Sequence[WorkerFailure]) -> WorkerFailure | None:
    """Return the first failure that no other try cures, if there is one."""
    final = [failure for failure in failures if failure.final]
    return min(final, key=lambda failure: (failure.at, failure.rank), default=None)
