"""Every step of a run leaves a record in the store, and a run goes on from its records.

    runs/<run_id>/run.json                         what the run is
    runs/<run_id>/recipe.yaml
    runs/<run_id>/steps/<step>.json                one record for each step that started
    runs/<run_id>/artifacts/<step>/<name>[/...]    outputs of steps
    runs/<run_id>/checkpoints/<step>/...           of a step that is training
    runs/<run_id>/jobs/<step>/...                  of one that trains in a TrainJob

A step that finds its own record, succeeded with the same inputs, takes its outputs from the store
instead of computing them again. One that finds an error which no retry cures fails with it at once.
Inputs are parameters, artifacts and weights by content, and the version of this package; where they
are others than the record's, the step is made anew, without its old checkpoints.
"""

from __future__ import annotations

import gc
import math
import resource
import shutil
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal, Protocol

import uae.errors
from uae.errors import ClusterError, StoreError, UaeError
from uae.fingerprints import file_sha256, folder_sha256, json_sha256
from uae.launch.events import emit
from uae.launch.location import RunLocation, current_job
from uae.launch.parent import follow_parent
from uae.launch.tee import Tee

if TYPE_CHECKING:
    from uae.store.s3 import Store

RECORD_FORMAT = 1
LOG_TAIL_LINES = 40
# What a retry may cure. Everything else fails again with the same inputs.
RETRYABLE = (StoreError, ClusterError, ConnectionError, TimeoutError, KeyboardInterrupt)


class Artifact(Protocol):
    """What a pipeline hands a step for each input and output: a place, and facts about it."""

    path: str
    uri: str
    metadata: dict[str, Any]


class MetricsArtifact(Artifact, Protocol):
    """An artifact that shows numbers."""

    def log_metric(self, metric: str, value: float) -> None:
        """Add one number."""


@dataclass
class StepRecord:
    """What a step tells the exit handler, the report and its own retry."""

    step: str
    inputs: str  # sha256 over parameters and input artifacts
    job: str
    started_at: str
    format: int = RECORD_FORMAT
    status: Literal["running", "succeeded", "failed"] = "running"
    attempt: int = 1
    ended_at: str | None = None
    seconds: float | None = None
    import_seconds: float = 0.0
    peak_memory_bytes: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    artifacts: dict[str, str] = field(default_factory=dict)  # name -> URI
    digests: dict[str, str] = field(default_factory=dict)  # name -> sha256
    log_tail: list[str] = field(default_factory=list)
    error: dict[str, Any] | None = None


class Step:
    """One running step: its record, its outputs and where they are stored."""

    def __init__(
        self,
        record: StepRecord,
        location: RunLocation,
        store: Store,
        outputs: Mapping[str, Artifact],
        metrics: MetricsArtifact | None,
    ) -> None:
        self.record = record
        self.location = location
        self.store = store
        self.outputs = outputs
        self.metrics = metrics
        self.restored = False

    @property
    def key(self) -> str:
        """Key of the record."""
        return f"{self.location.prefix}/steps/{self.record.step}.json"

    def prefix(self, kind: Literal["artifacts", "checkpoints"]) -> str:
        """Key prefix of what this step stores."""
        return f"{self.location.prefix}/{kind}/{self.record.step}"

    def log_metrics(self, values: Mapping[str, Any]) -> None:
        """Add the numbers among `values` to the record and to the metrics that the UI shows."""
        numbers = {
            name: float(value)
            for name, value in values.items()
            if isinstance(value, int | float) and math.isfinite(value)  # JSON has no NaN
        }
        self.record.metrics |= numbers
        if self.metrics is not None:
            for name, value in numbers.items():
                self.metrics.log_metric(name, value)

    @contextmanager
    def imports(self) -> Iterator[None]:
        """Count the time in this block as time for imports.

        What modules make stays; looking for garbage among it would take a tenth of the time.
        """
        started = time.perf_counter()
        gc.disable()
        try:
            yield
        finally:
            gc.freeze()
            gc.enable()
        self.record.import_seconds += time.perf_counter() - started

    def write(self) -> None:
        """Write the record to the store."""
        self.store.put_json(self.key, asdict(self.record))

    def store_outputs(self) -> None:
        """Store every output that exists and note its URI and digest."""
        for name, artifact in self.outputs.items():
            path, key = Path(artifact.path), self.output_key(name)
            if name in self.record.digests:  # taken over: whoever made it has stored it
                continue
            if path.is_dir():
                sha256 = self.store.put_folder(path, key)
            elif path.is_file():
                self.store.put_file(key, path)
                sha256 = file_sha256(path)
            else:
                continue
            self._note(name, sha256)

    def take_outputs(self, digests: Mapping[str, str]) -> None:
        """Take over outputs that others made and stored under `output_key`: name -> sha256."""
        for name, sha256 in digests.items():
            self._note(name, sha256)
        self._fetch_outputs()

    def restore_outputs(self) -> None:
        """Bring stored outputs to where this execution expects them."""
        self._fetch_outputs()
        self.log_metrics(self.record.metrics)
        self.restored = True

    def output_key(self, name: str) -> str:
        """Key of an output, or key prefix of a folder."""
        return f"{self.prefix('artifacts')}/{name}"

    def output_uri(self, name: str) -> str:
        """Address of an output in the store."""
        return f"s3://{self.location.bucket}/{self.output_key(name)}"

    def _note(self, name: str, sha256: str) -> None:
        self.record.artifacts[name] = self.output_uri(name)
        self.record.digests[name] = sha256
        self._describe(name)

    def _fetch_outputs(self) -> None:
        for name in self.record.artifacts:
            path, key = Path(self.outputs[name].path), self.output_key(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():  # left by an execution killed after it had stored its outputs
                shutil.rmtree(path)
            if self.store.exists(f"{key}/MANIFEST.json"):
                self.store.get_folder(key, path)
            else:
                self.store.get_file(key, path)
            self._describe(name)

    def _describe(self, name: str) -> None:
        """Say in an output's metadata what it is and where the store has it."""
        self.outputs[name].metadata |= {
            "sha256": self.record.digests[name],
            "stored_at": self.record.artifacts[name],
        }

    def fail(self, error: Exception) -> None:
        """Record an error that nobody can raise: the main thread hangs, and the process ends."""
        self.record.status, self.record.error = "failed", _describe(error)
        self.record.ended_at = _now()
        emit("failed", self.record.step, error=self.record.error)
        self.write()

    def finish(self, started: float, log_tail: list[str]) -> None:
        """Fill in what every ending has in common."""
        peaks = (resource.getrusage(who).ru_maxrss for who in _SELF_AND_CHILDREN)
        self.record.peak_memory_bytes = max(peaks) * 1024
        self.record.seconds = round(time.perf_counter() - started, 3)
        self.record.ended_at = _now()
        self.record.log_tail = log_tail


_SELF_AND_CHILDREN = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)


@contextmanager
def step(
    name: str,
    run: str,
    *,
    inputs: Mapping[str, Any],
    outputs: Mapping[str, Artifact],
    metrics: MetricsArtifact | None = None,
    late_inputs: Callable[[Store], Mapping[str, Any]] | None = None,
) -> Iterator[Step]:
    """Record a step from its start to its end, or restore what it computed before.

    Args:
        name: The step; `evaluate_unified_bench/cold_start` for one of several of a kind.
        run: The run's location, as `run_location` writes it.
        inputs: Everything that decides the result: parameters and input artifacts.
        outputs: What the step writes, by name. Stored when the step ends.
        metrics: Where `Step.log_metrics` shows numbers.
        late_inputs: Reads what else decides the result, as it is now: weights on a disk, or
            what changes in the store while other runs end.

    Yields:
        The step. If `restored` is true its outputs are there already: do nothing.

    Raises:
        UaeError: At once, if this execution failed here before with an error that no retry cures.
        StoreError: If the store cannot be reached.
    """
    follow_parent()
    started, location = time.perf_counter(), RunLocation.parse(run)
    try:
        store = location.connect()
        inputs = {"uae": version("uae"), **inputs, **(late_inputs(store) if late_inputs else {})}
        record = StepRecord(name, hash_inputs(inputs), current_job(), _now())
        work = Step(record, location, store, outputs, metrics)
        restored = _resume(work)
        if not restored:
            work.write()
    except UaeError as error:  # no place for a record, or one that says so
        emit("failed", name, error=_describe(error))
        raise
    if restored:
        emit("restored", name, seconds=work.record.seconds)
        yield work
        return
    emit("started", name, attempt=work.record.attempt)
    lines: deque[str] = deque(maxlen=LOG_TAIL_LINES)
    with ExitStack() as stack:
        stack.enter_context(redirect_stdout(Tee(sys.stdout, lines)))
        stack.enter_context(redirect_stderr(Tee(sys.stderr, lines)))
        stack.enter_context(_sigterm_interrupts())
        try:
            yield work
            work.store_outputs()
            record.status = "succeeded"
            work.finish(started, list(lines))
            work.write()
        except BaseException as error:
            _record_failure(work, error, started, list(lines))
            raise
    emit("succeeded", name, seconds=record.seconds, metrics=record.metrics)


def _resume(work: Step) -> bool:
    """Look at the record that this step left before; return whether its outputs were restored."""
    if not work.store.exists(work.key):
        return False
    values = work.store.get_json(work.key)
    if values["format"] != RECORD_FORMAT:
        raise StoreError(
            f"{work.key} has format {values['format']}, this version reads {RECORD_FORMAT}: "
            "finish the run with the version that began it, or start a new one"
        )
    before = StepRecord(**values)
    if before.inputs != work.record.inputs:
        work.store.delete(work.prefix("checkpoints"))  # those too come from the other inputs
        return False
    if before.status == "succeeded":
        work.record = before
        work.restore_outputs()
        return True
    if before.job and before.job == work.record.job:
        work.record.attempt = before.attempt + 1
        if before.status == "failed" and before.error and not before.error["retryable"]:
            raise _stored_error(before.error)
    return False


def _record_failure(work: Step, error: BaseException, started: float, log_tail: list[str]) -> None:
    work.record.status = "failed"
    work.record.error = _describe(error)
    work.finish(started, log_tail)
    emit("failed", work.record.step, seconds=work.record.seconds, error=work.record.error)
    if isinstance(error, Exception):
        with _noted(error, "outputs"):
            work.store_outputs()  # such as the report on the data that were refused
    with _noted(error, "record"):  # also without its outputs: it says what went wrong
        work.write()


@contextmanager
def _noted(error: BaseException, what: str) -> Iterator[None]:
    """Add a failure of the store to the error that it must not hide."""
    try:
        yield
    except (StoreError, OSError) as gone:
        error.add_note(f"the step's {what} could not be stored either: {gone}")


def _describe(error: BaseException) -> dict[str, Any]:
    name = type(error).__name__
    return {
        "type": name,
        "message": str(error) or name,
        "retryable": isinstance(error, RETRYABLE),
    }


def _stored_error(error: dict[str, Any]) -> Exception:
    known = getattr(uae.errors, error["type"], None)
    if isinstance(known, type) and issubclass(known, UaeError):
        return known(error["message"])
    return RuntimeError(f"{error['type']}: {error['message']}")


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """Treat SIGTERM, which precedes a preemption, like Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt(f"stopped by {signal.Signals(number).name}")

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def hash_inputs(inputs: Mapping[str, Any]) -> str:
    """Return the sha256 of parameters and input artifacts, by content."""
    return json_sha256({name: _identity(value) for name, value in inputs.items()})


def _identity(value: Any) -> Any:
    if not hasattr(value, "metadata"):
        return value
    path = Path(value.path)
    known = value.metadata.get("sha256")  # noted by the step that wrote it
    return known or (folder_sha256(path) if path.is_dir() else file_sha256(path))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
