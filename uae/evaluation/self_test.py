"""A test of what judges, on pictures with known answers, before it may judge anything."""

from dataclasses import dataclass, field
from typing import Any

from uae.errors import EvaluationError
from uae.evaluation.classification import roc_curve, yes_no_confusion


@dataclass
class SelfTest:
    """Known answers against given ones, by group."""

    judged: str
    _counts: dict[tuple[str, bool], tuple[int, int]] = field(default_factory=dict)
    _answers: list[tuple[bool, bool]] = field(default_factory=list)  # expected, answered
    _p_yes: list[float] = field(default_factory=list)

    def add(
        self, group: str, *, expected: bool, answered: bool, p_yes: float | None = None
    ) -> None:
        """Record one answer, with its probability where the judge gives one."""
        right, total = self._counts.get((group, expected), (0, 0))
        self._counts[group, expected] = (right + (expected == answered), total + 1)
        self._answers.append((expected, answered))
        if p_yes is not None:
            self._p_yes.append(p_yes)

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

    def classification(self) -> dict[str, Any]:
        """Return the answers as a confusion matrix and, where all have probabilities, as a ROC."""
        known, answered = ([pair[side] for pair in self._answers] for side in (0, 1))
        shown: dict[str, Any] = {"confusion": yes_no_confusion(known, answered)._asdict()}
        roc = roc_curve(known, self._p_yes) if len(self._p_yes) == len(known) else None
        return shown | ({"roc": roc._asdict()} if roc else {})

    def _groups(self) -> list[str]:
        return list(dict.fromkeys(name for name, _ in self._counts))
