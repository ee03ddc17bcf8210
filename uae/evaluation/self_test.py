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
        """Mean over the groups of `group_accuracy`."""
        groups = self._groups()
        return sum(map(self.group_accuracy, groups)) / len(groups)

    def group_accuracy(self, group: str) -> float:
        """Mean of the accuracies on "yes" and on "no" cases: always saying yes gives 1/2."""
        counts = [c for (name, _), c in self._counts.items() if name == group]
        return sum(right / total for right, total in counts) / len(counts)

    def require(self, minimum: float) -> None:
        """Refuse a judge that is not good enough in every group.

        What fails one task wholly, a colour classifier that always says red, may do well on
        average.

        Raises:
            EvaluationError: With the accuracy of every group.
        """
        worst = min(self._groups(), key=self.group_accuracy)
        if self.group_accuracy(worst) < minimum:
            raise EvaluationError(
                f"self-test failed: {self.judged} agree with the truth on "
                f"{self.group_accuracy(worst):.1%} of known pictures in {worst!r}, {minimum:.1%} "
                f"is required in each group; nothing was scored. Right / all: "
                f"{self.to_json()['groups']}"
            )

    def to_json(self) -> dict[str, Any]:
        """Return the accuracy and, for each group, how many of which kind were right."""
        groups = {
            f"{group}/{'yes' if expected else 'no'}": f"{right}/{total}"
            for (group, expected), (right, total) in self._counts.items()
        }
        return {"accuracy": self.accuracy, "groups": groups}

    def _groups(self) -> list[str]:
        return list(dict.fromkeys(name for name, _ in self._counts))
