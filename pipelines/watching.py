"""Waiting for a run on a cluster: a line for every change, and an exit code at the end.

The SDK's own `wait_for_run_completion` waits for ever where a run was cancelled, and ends where the
connection is lost once. A lost connection says nothing of the run, which goes on.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from uae.errors import RunError
from uae_pipelines.api import ENDED, ApiFault, PipelinesApi

SUCCEEDED = "SUCCEEDED"
EXIT_FAILED = 1
LONGEST_DELAY_SECONDS = 60.0
BEHIND = re.compile(r"^root$|-driver$|^executor")  # of a step, not one itself
SHOWN = 1000  # characters of an error


@dataclass(frozen=True)
class Waiting:
    """How long to wait for a run, and how."""

    timeout_seconds: float | None  # None: until it ends
    patience_seconds: float  # with an API that is out of reach
    poll_seconds: float


@dataclass
class RunWatch:
    """What was seen of a run so far."""

    api: PipelinesApi
    run_id: str
    state: str = ""
    tasks: dict[str, str] = field(default_factory=dict)  # id -> state

    def look(self, run: dict[str, Any]) -> None:
        """Print what changed since the last look."""
        for name, task in _steps(run):
            state, id_ = _state(task), str(task.get("task_id"))
            if state and self.tasks.get(id_) != state:
                self.tasks[id_] = state
                _say(f"{name}: {state}")
        state = _state(run)
        if state and state != self.state:
            self.state = state
            _say(f"run: {state}")

    @property
    def ended(self) -> bool:
        """Whether the run will not change any more."""
        return self.state in ENDED


def watch(api: PipelinesApi, run_id: str, waiting: Waiting) -> int:
    """Wait until a run has ended, printing every change of it and its tasks.

    Returns:
        0 if it succeeded, 1 if it failed, was cancelled or skipped.

    Raises:
        ApiFault: If the API refuses, or was out of reach for longer than the patience.
        RunError: If the run did not end in time.
        KeyboardInterrupt: The run goes on.
    """
    seen = RunWatch(api, run_id)
    try:
        run = _wait(seen, waiting)
    except KeyboardInterrupt:
        print(f"no longer waiting; {_goes_on(api, run_id)}", file=sys.stderr)
        raise
    if seen.state == SUCCEEDED:
        return 0
    print(describe_failure(run), flush=True)
    print(f"look at {api.link(run_id)}", flush=True)
    return EXIT_FAILED


def _wait(seen: RunWatch, waiting: Waiting) -> dict[str, Any]:
    """Look until the run has ended; return it."""
    start = reached = time.monotonic()
    delay = waiting.poll_seconds
    while True:
        try:
            run = seen.api.run(seen.run_id)
        except ApiFault as fault:
            lost_seconds = time.monotonic() - reached
            _check_patience(fault, lost_seconds, seen, waiting)
            _say(f"out of reach for {lost_seconds:.0f} s, the run goes on: {fault}")
            delay = min(2 * delay, max(LONGEST_DELAY_SECONDS, waiting.poll_seconds))
        else:
            reached, delay = time.monotonic(), waiting.poll_seconds
            seen.look(run)
            if seen.ended:
                return run
        waited_seconds = time.monotonic() - start
        if waiting.timeout_seconds is not None and waited_seconds >= waiting.timeout_seconds:
            raise RunError(
                f"run {seen.run_id} is {seen.state or 'out of reach'} after "
                f"{waited_seconds:.0f} s (--timeout); {_goes_on(seen.api, seen.run_id)}"
            )
        time.sleep(delay)


def _check_patience(fault: ApiFault, lost_seconds: float, seen: RunWatch, waiting: Waiting) -> None:
    """Raise the fault if waiting does not cure it, or has not for long enough.

    A token that was taken before and is refused now has expired; its file may be renewed.
    """
    expired = fault.status == 401 and bool(seen.state)
    if not (fault.transient or expired):
        again = f"; {_goes_on(seen.api, seen.run_id)}" if seen.state else ""
        raise ApiFault(f"{fault}{again}", fault.status) from fault
    if lost_seconds > waiting.patience_seconds:
        raise ApiFault(
            f"out of reach for {lost_seconds:.0f} s (--patience): {fault}; "
            f"{_goes_on(seen.api, seen.run_id)}",
            fault.status,
        ) from fault


def task_names(run: dict[str, Any]) -> dict[str, str]:
    """Return what the API may call each step of the pipeline -> what the UI calls it.

    The API also tells of the drivers and pods behind a step, which say nothing to a reader. None
    are known where the run does not come with its pipeline.
    """
    spec = run.get("pipeline_spec") or {}
    spec = spec.get("pipeline_spec") or spec
    names = {}
    components = spec.get("components") or {}
    graphs = [spec.get("root") or {}, *components.values()]
    for graph in graphs:
        for key, task in ((graph.get("dag") or {}).get("tasks") or {}).items():
            component = components.get((task.get("componentRef") or {}).get("name"), {})
            if "dag" not in component:
                name = (task.get("taskInfo") or {}).get("name") or key
                names |= {key: name, name: name}
    return names


def describe_failure(run: dict[str, Any]) -> str:
    """Return which steps failed and with what, as far as the API says."""
    lines = [
        f"failed: {name}{_reason(task)}" for name, task in _steps(run) if _state(task) == "FAILED"
    ]
    if not lines or _reason(run):
        lines.append(f"the run {_ending(run)}{_reason(run)}")
    return "\n".join(lines)


def _ending(run: dict[str, Any]) -> str:
    endings = {"CANCELED": "was cancelled", "SKIPPED": "was skipped"}
    return endings.get(_state(run), "failed")


def _reason(thing: dict[str, Any]) -> str:
    message = str((thing.get("error") or {}).get("message") or "").strip()
    return f": {message[:SHOWN]}" if message else ""


def _steps(run: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what the API tells of the pipeline's steps, with their names."""
    names = task_names(run)
    details = run.get("run_details") or {}
    for task in details.get("task_details") or run.get("tasks") or []:
        shown = str(task.get("display_name") or task.get("name") or "")
        name = names.get(shown, "") if names else "" if BEHIND.search(shown) else shown
        if name:
            yield name, task


def _state(thing: dict[str, Any]) -> str:
    """Return the state of a run or task; newer servers call a task's `status`."""
    return str(thing.get("state") or thing.get("status") or "")


def _goes_on(api: PipelinesApi, run_id: str) -> str:
    return (
        f"the run goes on: {api.link(run_id)}; `uae watch {run_id} --host {api.host}` waits again"
    )


def _say(text: str) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S}Z  {text}", flush=True)
