"""Updates that are skipped because a loss or gradient is not finite: counted, named, limited."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from uae.errors import TrainingError
from uae.replacement import replaced_file

FILE = "skipped.json"
_NUM_NAMED = 8  # samples in a message; the file has all


@dataclass(frozen=True)
class Skipped:
    """One skipped update."""

    update: int
    kind: Literal["loss", "gradient"]  # what was not finite
    samples: list[str]  # of the passes with such a loss, or of the gradient's minibatch

    def __str__(self) -> str:
        named = ", ".join(self.samples[:_NUM_NAMED])
        more = len(self.samples) - _NUM_NAMED
        rest = f" and {more} more" if more > 0 else ""
        return f"update {self.update}: the {self.kind} is not finite for samples {named}{rest}"


class SkippedUpdates:
    """The skipped updates of a stage, those before a resume among them."""

    def __init__(self, most: int) -> None:
        """Begin to count.

        Args:
            most: How many a run may skip.
        """
        self._most = most
        self._found: list[Skipped] = []

    def __len__(self) -> int:
        return len(self._found)

    def has(self, update: int) -> bool:
        """Whether an update was skipped."""
        return any(one.update == update for one in self._found)

    def add(self, skipped: Skipped) -> None:
        """Count one. All processes do so alike."""
        self._found.append(skipped)

    def require_few(self) -> None:
        """Check that no more than the recipe allows were skipped.

        Raises:
            TrainingError: Naming the last one.
        """
        if len(self) > self._most:
            raise TrainingError(
                f"{self._found[-1]}; {len(self)} updates were skipped for this, and the recipe's "
                f"faults.max_skipped_updates is {self._most}: look at the samples in {FILE}, or "
                "lower the learning rate"
            )

    def values(self) -> list[dict[str, Any]]:
        """Return all as JSON."""
        return [asdict(one) for one in self._found]

    def load(self, values: Sequence[dict[str, Any]]) -> None:
        """Take over what `values` returned."""
        self._found = [Skipped(**one) for one in values]

    def say(self) -> None:
        """Print the last one, for the log."""
        print(f"skipped {self._found[-1]} ({len(self)} of {self._most})", file=sys.stderr)

    def write(self, folder: Path) -> None:
        """Write all to skipped.json in a folder; no file where there are none."""
        path = folder / FILE
        if not self._found:
            path.unlink(missing_ok=True)
            return
        folder.mkdir(parents=True, exist_ok=True)
        with replaced_file(path) as fresh:
            fresh.write_text(json.dumps(self.values(), indent=1), encoding="utf-8")
