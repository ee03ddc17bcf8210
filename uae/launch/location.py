"""Where a run's records and artifacts lie."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from uae.errors import StoreError

if TYPE_CHECKING:
    from uae.store.s3 import Store

RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
JOB_VARIABLE = "UAE_JOB"


def current_job() -> str:
    """Return the id of this execution of a run; a resumed run has the same run id and another job.

    It comes from the environment, which a cache key does not see: from the pod's labels on a
    cluster, from `uae run` elsewhere. Empty where nobody says it: every start of a step then counts
    as another execution.
    """
    return os.environ.get(JOB_VARIABLE, "")


@dataclass(frozen=True)
class RunLocation:
    """Where a run's records and artifacts lie."""

    endpoint: str
    bucket: str
    run_id: str

    @classmethod
    def parse(cls, text: str) -> RunLocation:
        """Read what `str` wrote.

        Raises:
            StoreError: If the text is not `<endpoint>/<bucket>/runs/<run_id>`.
        """
        parts = text.rsplit("/", 3)
        if len(parts) != 4 or parts[2] != "runs" or not all(parts[:2]):
            raise StoreError(
                f"run location {text!r} is not <endpoint>/<bucket>/runs/<run_id>: "
                "give the endpoint and the bucket"
            )
        if not RUN_ID.fullmatch(parts[3]):
            raise StoreError(
                f"run id {parts[3]!r} is not valid: use letters, digits, '.', '_' and '-'"
            )
        return cls(parts[0], parts[1], parts[3])

    def __str__(self) -> str:
        return f"{self.endpoint}/{self.bucket}/{self.prefix}"

    @property
    def prefix(self) -> str:
        """Key prefix of everything that the run stores."""
        return f"runs/{self.run_id}"

    def connect(self) -> Store:
        """Open the store; credentials come from the environment."""
        from uae.store.s3 import Store

        return Store.connect(self.endpoint, self.bucket)


def run_location(run_id: str, endpoint: str, bucket: str) -> str:
    """Return the location of a run; an empty `run_id` takes the execution's own id.

    Raises:
        StoreError: If the endpoint is malformed or holds a password, the bucket is empty or cannot
            be part of a location, or neither run nor execution has an id.
    """
    from uae.store.s3 import parse_endpoint

    parse_endpoint(endpoint)
    name = run_id or current_job()
    if not name:
        raise StoreError(f"the run has no id: give run_id, or set {JOB_VARIABLE}")
    return str(RunLocation.parse(f"{endpoint.rstrip('/')}/{bucket}/runs/{name}"))
