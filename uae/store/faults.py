"""Which faults of a store are worth a retry, and what to tell a person about the others."""

import errno
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar
from xml.etree import ElementTree

import minio.error
import urllib3.exceptions

from uae.errors import StoreError

Result = TypeVar("Result")

CONNECTION_FAULTS = (
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.ConnectTimeoutError,
    urllib3.exceptions.ReadTimeoutError,
    urllib3.exceptions.ProtocolError,  # reset, or closed in the middle of an answer
)
TRANSIENT_CODES = {"InternalError", "ServiceUnavailable", "SlowDown", "RequestTimeout"}
TRANSIENT_STATUS = {429, 500, 502, 503, 504}
FULL_STATUS = 507
FULL_CODES = {  # MinIO's disk, MinIO's quota, Ceph's quota
    "XMinioStorageFull",
    "XMinioAdminBucketQuotaExceeded",
    "QuotaExceeded",
}
REFUSED_CODES = {
    "AccessDenied",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "SignatureDoesNotMatch",
}


class MissingObject(StoreError):
    """No object has this key."""


@dataclass(frozen=True)
class Backoff:
    """How often to try, and how long to wait: first_delay_seconds, then twice as long each time."""

    attempts: int = 6
    first_delay_seconds: float = 0.2


def call(operation: Callable[[], Result], action: str, store: str, backoff: Backoff) -> Result:
    """Run one store operation, again after a transient fault.

    Args:
        operation: Must be safe to repeat.
        action: What it does, for the error: "write runs/1/x".
        store: Which store, for the error.
        backoff: How often and how patiently.

    Raises:
        MissingObject: If the object does not exist.
        StoreError: If the store refuses, or still fails after the last attempt.
    """
    for attempt in range(1, backoff.attempts + 1):
        try:
            return operation()
        except CONNECTION_FAULTS as error:
            last: Exception = error
        except minio.error.MinioException as error:
            if not _is_transient(error):
                raise explain(error, action, store) from error
            last = error
        except urllib3.exceptions.HTTPError as error:
            raise StoreError(f"cannot {action} at {store}: {error}") from error
        except ElementTree.ParseError as error:
            raise StoreError(
                f"cannot {action} at {store}: its answer is not S3's XML; check the endpoint"
            ) from error
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise StoreError(f"cannot {action}: the local disk is full; free space") from error
            raise
        if attempt < backoff.attempts:
            time.sleep(backoff.first_delay_seconds * 2 ** (attempt - 1))
    raise StoreError(
        f"cannot {action} at {store}: {_reason(last)}, in {backoff.attempts} attempts; "
        "check that the server runs and has space left, then run again"
    ) from last


def explain(error: minio.error.MinioException, action: str, store: str) -> StoreError:
    """Turn a lasting fault into the error that a person reads."""
    code, status = _code(error), _status(error)
    if code == "NoSuchKey":
        return MissingObject(f"cannot {action} at {store}: no such object")
    if code == "NoSuchBucket":
        return StoreError(f"cannot {action} at {store}: the bucket does not exist; create it first")
    if code == "RequestTimeTooSkewed":
        return StoreError(f"cannot {action} at {store}: this machine's clock differs from its own")
    if _is_full(error):
        return StoreError(
            f"cannot {action} at {store}: no space is left there ({code or status}); free some or "
            "raise the bucket's quota, then run again: what was stored before is whole"
        )
    if code in REFUSED_CODES or status in {401, 403}:
        return StoreError(
            f"cannot {action} at {store}: credentials refused ({code or status}); check "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and what they may do in this bucket, "
            "which some stores make read-only when it is over its quota"
        )
    return StoreError(f"cannot {action} at {store}: {_reason(error)}")


def _is_transient(error: minio.error.MinioException) -> bool:
    return not _is_full(error) and (
        _code(error) in TRANSIENT_CODES or _status(error) in TRANSIENT_STATUS
    )


def _is_full(error: minio.error.MinioException) -> bool:
    return _code(error) in FULL_CODES or _status(error) == FULL_STATUS


def _code(error: minio.error.MinioException) -> str | None:
    return error.code if isinstance(error, minio.error.S3Error) else None


def _status(error: minio.error.MinioException) -> int | None:
    if isinstance(error, minio.error.S3Error):
        return int(error.response.status)
    if isinstance(error, minio.error.ServerError):
        return int(error.status_code)
    if isinstance(error, minio.error.InvalidResponseError):
        return int(error._code)  # it has no public name for the status
    return None


def _reason(error: Exception) -> str:
    if isinstance(error, minio.error.MinioException):
        message = error.message if isinstance(error, minio.error.S3Error) else ""
        return f"the server answered {_status(error)} {_code(error) or ''} {message}".strip()
    return f"no connection ({type(error).__name__})"
