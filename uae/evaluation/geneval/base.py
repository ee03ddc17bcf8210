"""What looks at a picture for GenEval: a detector of objects, and a classifier of their colours."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from uae.evaluation.geneval.rules import Detection
from uae.evaluation.pictures import Pixels


class Detector(ABC):
    """Finds objects of named classes, in two steps, so that batches can overlap.

    Attributes:
        identity: What detects; stamped into results.
        classes: The classes that it knows.
        batch_size: How many pictures `infer` is given.
    """

    identity: dict[str, str]
    classes: tuple[str, ...]
    batch_size: int

    @abstractmethod
    def infer(self, pictures: Sequence[Pixels]) -> Any:
        """Return the model's output for one batch."""

    @abstractmethod
    def objects(self, output: Any) -> list[list[Detection]]:
        """Return the objects of each picture with a score above 0.3, in any order."""

    def detect(self, pictures: Sequence[Pixels]) -> list[list[Detection]]:
        """Return the objects of each picture, batch after batch."""
        starts = range(0, len(pictures), self.batch_size)
        batches = [pictures[start : start + self.batch_size] for start in starts]
        return [found for batch in batches for found in self.objects(self.infer(batch))]


class Renamed(Detector):
    """A detector whose classes are given other names."""

    def __init__(self, detector: Detector, names: Mapping[str, str], *, scheme: str) -> None:
        self._detector, self._names = detector, names
        self.classes = tuple(names[name] for name in detector.classes)
        self.identity = detector.identity | {"names": scheme}
        self.batch_size = detector.batch_size

    def infer(self, pictures: Sequence[Pixels]) -> Any:
        """Return the model's output for one batch."""
        return self._detector.infer(pictures)

    def objects(self, output: Any) -> list[list[Detection]]:
        """Return the objects of each picture under their new names."""
        return [
            [replace(one, name=self._names[one.name]) for one in found]
            for found in self._detector.objects(output)
        ]


class ColorClassifier(Protocol):
    """Names the colour of an object in a picture."""

    @property
    def identity(self) -> dict[str, str]:
        """What classifies; stamped into results."""
        ...

    @property
    def colors(self) -> Sequence[str]:
        """The colours that it chooses from."""
        ...

    def classify(self, objects: Sequence[tuple[Pixels, Detection]]) -> list[str]:
        """Return the colour of each object."""
        ...
