"""Which of several processes' failures is the reason, and what becomes of it."""

import pytest
import torch
from torch import distributed

from uae.errors import ClusterError, DataError, StoreError
from uae.launch.failures import FAILED, FINAL, INTERRUPTED, WorkerFailure, final_failure, reason
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
        ([failure(ConnectionLost("process 1 is gone"), 0, 0)], "rank 0 noticed: process 1 is"),
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


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DataError("bad"), FINAL),
        (ValueError("bad"), FINAL),
        (torch.OutOfMemoryError("CUDA out of memory"), FINAL),
        (StoreError("gone"), FAILED),
        (ConnectionLost("gone"), FAILED),
        (torch.AcceleratorError("CUDA error: uncorrectable ECC error"), FAILED),
        (distributed.DistBackendError("NCCL error"), FAILED),
        (KeyboardInterrupt("stopped by SIGTERM"), INTERRUPTED),
    ],
)
def test_exit_code_says_whether_another_try_may_help(error: BaseException, code: int) -> None:
    assert failure(error, 0, 0).exit_code == code


def test_first_final_failure_is_that_of_the_task() -> None:
    lost = [failure(ConnectionLost("gone"), 0, 0), failure(StoreError("away"), 1, 1)]
    assert final_failure(lost) is None
    bad = [failure(DataError("second"), 2, 3), failure(DataError("first"), 3, 2)]
    assert final_failure([*lost, *bad]) == bad[1]
