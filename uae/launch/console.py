"""What a person sees while a pipeline runs: one line for each step, the rest goes to a log."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from uae.launch.events import Event, parse_event

UPDATES = re.compile(r"^(\w+) (\d+)/(\d+)  (.*)$")  # a training stage's own line of progress


class RunConsole(io.TextIOBase):
    """Standard output of a pipeline: kept whole in a log, shown as steps and their progress."""

    def __init__(
        self,
        log: TextIO,
        num_steps: int,
        console: Console,
        *,
        on_output: Callable[[], None],
        on_fault: Callable[[], None],
    ) -> None:
        """Prepare the display.

        Args:
            log: Gets every line.
            num_steps: Steps that the pipeline has.
            console: The terminal, or whatever stands in its place.
            on_output: Called after each write; may raise to end the pipeline.
            on_fault: Called before the error of a log or terminal that cannot be written is
                raised: the pipeline will not end before its step does.
        """
        self._log = log
        self._num_steps = num_steps
        self._console = console
        self._on_output, self._on_fault = on_output, on_fault
        self._open = ""
        self._seen: list[str] = []
        self._task: TaskID | None = None
        self.last_failure: Event | None = None
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            TextColumn("{task.fields[shown]}"),
            console=console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            disable=not console.is_terminal,
        )

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the display; what is not meant to stay goes away at the end."""
        self._progress.start()
        try:
            yield
        finally:
            self._progress.stop()
            self._log.flush()

    def write(self, text: str) -> int:
        """Log the text and show what is meant for the person.

        Raises:
            OSError: If log or terminal cannot be written, as on a full disk.
        """
        *lines, self._open = (self._open + text).split("\n")
        with self._told_of_faults():
            for line in lines:
                self._take(line)
        self._on_output()
        return len(text)

    def flush(self) -> None:
        """Flush the log."""
        with self._told_of_faults():
            self._log.flush()

    @contextmanager
    def _told_of_faults(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            self._on_fault()
            raise

    def _take(self, line: str) -> None:
        event = parse_event(line)
        if event is not None:
            self._show(event)
        elif found := UPDATES.match(line.strip()):
            self._advance(*found.groups())
        self._log.write(line + "\n")

    def _show(self, event: Event) -> None:
        if event.step not in self._seen:
            self._seen.append(event.step)
        name = f"[{len(self._seen):2d}/{self._num_steps}] {event.step}"
        if event.kind == "started":
            self._clear()
            self._task = self._progress.add_task(name, total=None, shown="")
            return
        self._clear()
        self._say(f"{name:<60}{_outcome(event)}")
        if event.kind == "failed":
            self.last_failure = event

    def _advance(self, stage: str, done: str, total: str, shown: str) -> None:
        if self._task is not None and self._seen[-1] == stage:
            self._progress.update(self._task, completed=int(done), total=int(total), shown=shown)
            if not self._console.is_terminal:
                self._say(f"        {done}/{total}  {shown}")

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _clear(self) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None


def _outcome(event: Event) -> str:
    seconds: Any = event.facts.get("seconds")
    took = "" if seconds is None else f"{seconds:7.1f} s"
    words = {"succeeded": "", "restored": "  (done before)", "failed": "  failed"}
    return took + words.get(event.kind, "")
