"""What is known to be true of a picture: its objects, background and written word."""

from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class ObjectFact:
    """One object in a scene."""

    name: str  # class, e.g. "cat"
    color: str
    size: str
    place: str
    box: tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels, end exclusive


@dataclass(frozen=True)
class SceneFacts:
    """The whole truth about a scene."""

    objects: tuple[ObjectFact, ...]
    background: str
    word: str | None

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form that stands in `captions.jsonl`."""
        objects = [
            {"class": o.name, "color": o.color, "size": o.size, "place": o.place, "box": [*o.box]}
            for o in self.objects
        ]
        return {"objects": objects, "background": self.background, "word": self.word}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Read the JSON form.

        Raises:
            KeyError: If a key is missing.
        """
        objects = tuple(
            ObjectFact(o["class"], o["color"], o["size"], o["place"], (*map(int, o["box"]),))  # type: ignore[arg-type]
            for o in values["objects"]
        )
        return cls(objects, values["background"], values["word"])
