"""A test of what judges, on pictures with known answers, before it may judge anything."""

from dataclasses import dataclass, field
from typing import Any

from uae.errors import EvaluationError


@dataclass
class SelfTest:
    """Known answers against given ones, by group."""

    judged: str
    _counts: dict[tuple[str, bool], tuple[int, int]] = field(default_factory=dict)

    def add(self, group: str, *, expected: bool, answered: bool) -> None:
        """Record one answer."""
        right, total = self._counts.get((group, expected), (0, 0))
        self._counts[group, expected] = (right + (expected == answered), total + 1)

    @property
    def accuracy(self) -> float:
        """Mean of the accuracies on "yes" and on "no" cases: always saying yes gives 1/2."""
        shares = [self._share(expected) for expected in (True, False)]
        known = [share for share in shares if share is not None]
        return sum(known) / len(known)

    def require(self, minimum: float) -> None:
        """Refuse a judge that is not good enough.

        Raises:
            EvaluationError: With the accuracy of every group.
        """
        if self.accuracy < minimum:
            raise EvaluationError(
                f"self-test failed: {self.judged} agree with the truth on {self.accuracy:.1%} of "
                f"known pictures, {minimum:.1%} is required; nothing was scored. Right / all: "
                f"{self.to_json()['groups']}"
            )

    def to_json(self) -> dict[str, Any]:
        """Return the accuracy and, for each group, how many of which kind were right."""
        groups = {
            f"{group}/{'yes' if expected else 'no'}": f"{right}/{total}"
            for (group, expected), (right, total) in self._counts.items()
        }
        return {"accuracy": self.accuracy, "groups": groups}

    def _share(self, expected: bool) -> float | None:
        counts = [count for (_, kind), count in self._counts.items() if kind == expected]
        total = sum(count[1] for count in counts)
        return sum(count[0] for count in counts) / total if total else None
