"""Which of several processes' failures is the reason, and what becomes of it."""

import pytest

from uae.errors import ClusterError, DataError, StoreError
from uae.launch.failures import WorkerFailure, reason
from uae.records import RETRYABLE
from uae.training.messages import ConnectionLost, OtherProcessFailed


def failure(error: BaseException, rank: int, second: int) -> WorkerFailure:
    found = WorkerFailure.of(error, rank)
    return WorkerFailure(
        found.rank, found.type, found.message, found.retryable, f"2026-01-01T00:00:{second:02d}"
    )


def test_first_error_that_does_not_follow_from_another_is_the_reason() -> None:
    failures = [
        failure(OtherProcessFailed("process 1 of 3 failed: no rows"), 0, 1),
        failure(DataError("no rows"), 1, 2),
        failure(KeyboardInterrupt("stopped by SIGTERM"), 2, 0),
    ]
    found = reason(failures)
    assert type(found) is DataError
    assert str(found) == "no rows"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (StoreError("gone"), StoreError),
        (TimeoutError("late"), TimeoutError),
        (ConnectionError("reset"), ConnectionError),
        (ConnectionResetError("reset"), ClusterError),
        (DataError("bad"), DataError),
        (ValueError("bad"), RuntimeError),
    ],
)
def test_what_a_retry_may_cure_stays_so(error: Exception, kind: type[Exception]) -> None:
    found = reason([failure(error, 0, 0)])
    assert type(found) is kind
    assert str(error) in str(found)
    assert isinstance(found, RETRYABLE) is isinstance(error, RETRYABLE)


@pytest.mark.parametrize(
    ("failures", "text"),
    [
        ([], "ended without a word"),
        ([failure(OtherProcessFailed("its machine is gone"), 3, 0)], "rank 3 noticed: its"),
        (
            [failure(ConnectionLost("process 1 of 2 has not come"), 0, 0)],
            "rank 0 noticed: process 1",
        ),
        (
            [failure(KeyboardInterrupt("stopped by SIGTERM"), 2, 0)],
            "rank 2 was stopped from",
        ),
    ],
)
def test_loss_of_a_process_is_worth_another_try(failures: list[WorkerFailure], text: str) -> None:
    found = reason(failures)
    assert type(found) is ClusterError
    assert text in str(found)
