"""The lease of a TrainJob: a job that no step follows any more ends by itself.

    owner.json  the execution that made the job, or was the last to take it up
    lease.json  when a step last followed it

They lie beside the job's task in the store. A step that is killed deletes nothing, and on a cluster
none hears of SIGTERM: kfp's launcher dies of it at once, its container ends with it, and whoever
terminates an execution may end its exit handler too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

from uae.errors import StoreError
from uae.launch.task import Notes, write_abandoned

OWNER, LEASE = "owner.json", "lease.json"
RENEW_SECONDS = 30.0
LOOK_SECONDS = 60.0
# A step that is tried again must find its job alive: kfp waits up to 1,800 s before a try, and its
# new pod needs a node and an image.
LEASE_SECONDS = 3600.0


class Lease:
    """A step's hold on its job."""

    def __init__(self, place: Notes, job: str) -> None:
        """Describe the lease; nothing is written.

        Args:
            place: Where the job's task lies.
            job: This execution's id; empty where nobody says it.
        """
        self._place, self._job = place, job
        self._due = 0.0

    def take(self) -> None:
        """Make the job this execution's.

        Raises:
            StoreError: If the store cannot be written.
        """
        self._place.write(OWNER, {"job": self._job})
        self._write()

    def renew(self) -> None:
        """Renew the lease if it is time for it.

        A store that is away loses no job: whoever cannot read the lease does not count its age.
        """
        if time.monotonic() < self._due:
            return
        try:
            self._write()
        except StoreError as error:
            self._due = time.monotonic() + RENEW_SECONDS
            print(f"the job's lease is not renewed: {error}", flush=True)

    def _write(self) -> None:
        self._place.write(LEASE, {"at": datetime.now(UTC).isoformat()})
        self._due = time.monotonic() + RENEW_SECONDS


class LeaseWatch:
    """What a job's own process sees of its lease.

    It counts by its own clock how long the lease has not changed, and only while it can be read: so
    neither another clock nor a store that is away ends a job.
    """

    def __init__(self, open_place: Callable[[], Notes]) -> None:
        """Describe the watch; nothing is read.

        Args:
            open_place: Opens the place where the job's task lies; tried again while it fails.
        """
        self._open = open_place
        self._place: Notes | None = None
        self._found: object = None
        self._read_at: float | None = None  # None: it could not be read, or there is none
        self._seconds = 0.0
        self.verdict = ""  # why the job had to end

    def watch(self, end: Callable[[], object]) -> None:
        """Look until the lease is too old; then leave word of it and call `end`."""
        while self.look() < LEASE_SECONDS:
            time.sleep(LOOK_SECONDS)
        self.verdict = (
            f"ended: no step has followed this TrainJob for {self._seconds:.0f} s ({LEASE} was not "
            "renewed); start its run again with the same run_id to go on from its newest checkpoint"
        )
        if self._place is not None:
            with suppress(StoreError, OSError):  # then the next pod looks for as long as this one
                write_abandoned(self._place, self.verdict)
        end()

    def look(self) -> float:
        """Look once; return for how many seconds the lease has been seen unchanged."""
        now = time.monotonic()
        try:
            self._place = self._place or self._open()
            found = self._place.read(LEASE)
        except (StoreError, OSError):
            self._read_at = None
            return self._seconds
        if found is None or found != self._found:
            self._seconds = 0.0
        elif self._read_at is not None:
            self._seconds += now - self._read_at
        self._found, self._read_at = found, now
        return self._seconds


def held_by_another(place: Notes, job: str) -> bool:
    """Say whether a step of another execution follows a job, or may do so again.

    Args:
        place: Where the job's task lies.
        job: The execution that asks; empty where nobody says it: then there is no other one.

    Raises:
        StoreError: If the store cannot be read.
    """
    owner, lease = place.read(OWNER), place.read(LEASE)
    if not job or not owner or not lease or owner["job"] in {"", job}:
        return False
    age = datetime.now(UTC) - datetime.fromisoformat(lease["at"])
    return age.total_seconds() < LEASE_SECONDS
