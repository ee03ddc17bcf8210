"""Where metrics go: a JSON Lines file, TensorBoard, and the terminal.

After a resume the files are written again from the checkpoint's rows, so that no update stands
in them twice and none is missing.
"""

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch.utils.tensorboard import SummaryWriter

Row = dict[str, float]  # {"step": n, metric: value, ...}
_LINE_EVERY_SECONDS = 15.0
_SHOWN = ("loss", "reward/mean", "set_aside/reward", "images_per_second")


class Tracker(Protocol):
    """Takes one row for each update."""

    def write(self, row: Mapping[str, float]) -> None:
        """Take the metrics of one update."""

    def close(self) -> None:
        """Flush and let go of files."""


class JsonlTracker:
    """One JSON object in a line for each update, flushed at once."""

    def __init__(self, path: Path, earlier: Sequence[Row]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".writing")
        fresh.write_text("".join(json.dumps(row) + "\n" for row in earlier), encoding="utf-8")
        fresh.replace(path)
        self._file = path.open("a", encoding="utf-8")

    def write(self, row: Mapping[str, float]) -> None:
        """Append one line."""
        self._file.write(json.dumps(dict(row)) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class TensorBoardTracker:
    """One scalar series for each metric."""

    def __init__(self, folder: Path, earlier: Sequence[Row]) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self._writer = SummaryWriter(str(folder))
        for row in earlier:
            self.write(row)

    def write(self, row: Mapping[str, float]) -> None:
        """Add one point to every series."""
        for name, value in row.items():
            if name != "step":
                self._writer.add_scalar(name, value, int(row["step"]))

    def close(self) -> None:
        """Flush the event file."""
        self._writer.close()


class ProgressTracker:
    """A bar on a terminal; elsewhere, as in a pod's log, a line every 15 seconds."""

    def __init__(self, stage: str, num_updates: int, done: int) -> None:
        self._console = Console(stderr=True)
        self._stage = stage
        self._num_updates = num_updates
        self._last_line_seconds = time.monotonic()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}  {task.fields[shown]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._progress.add_task(stage, total=num_updates, completed=done, shown="")
        self._progress.start()

    def write(self, row: Mapping[str, float]) -> None:
        """Advance the bar, or print a line when one is due."""
        done = int(row["step"]) + 1
        shown = "  ".join(f"{name} {row[name]:.4g}" for name in _SHOWN if name in row)
        self._progress.update(self._task, completed=done, shown=shown)
        due = time.monotonic() - self._last_line_seconds > _LINE_EVERY_SECONDS
        if not self._console.is_terminal and (due or done == self._num_updates):
            self._last_line_seconds = time.monotonic()
            self._console.print(
                f"{self._stage} {done}/{self._num_updates}  {shown}", highlight=False
            )

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._progress.stop()


class Trackers:
    """Several trackers as one, closed together."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = trackers

    def write(self, row: Mapping[str, float]) -> None:
        """Hand the row to each."""
        for tracker in self._trackers:
            tracker.write(row)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for tracker in self._trackers:
            tracker.close()


def open_trackers(
    log_dir: Path | None, stage: str, num_updates: int, earlier: Sequence[Row]
) -> Trackers:
    """Open the progress display and, where `log_dir` is given, the metric files in it."""
    trackers: list[Tracker] = [ProgressTracker(stage, num_updates, len(earlier))]
    if log_dir is not None:
        trackers.append(JsonlTracker(log_dir / "metrics.jsonl", earlier))
        trackers.append(TensorBoardTracker(log_dir / "tensorboard", earlier))
    return Trackers(trackers)
