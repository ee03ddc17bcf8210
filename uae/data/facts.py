"""What is known to be true of a picture: its objects, background and written word."""

from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from uae.errors import DataError


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
    def from_json(cls, values: object) -> Self:
        """Read the JSON form.

        Raises:
            DataError: Naming every key that is missing, unknown or has a wrong value.
        """
        try:
            row = _SceneRow.model_validate(values)
        except ValidationError as error:
            raise DataError("; ".join(_explain(dict(f)) for f in error.errors())) from error
        objects = tuple(
            ObjectFact(o.name, o.color, o.size, o.place, (o.box[0], o.box[1], o.box[2], o.box[3]))
            for o in row.objects
        )
        return cls(objects, row.background, row.word)


def _is_lower_case(text: str) -> str:
    if text != text.lower():
        raise ValueError("must be in lower case: captions are compared in lower case")
    return text


def _is_upright(box: list[int]) -> list[int]:
    x0, y0, x1, y1 = box
    if not (x0 < x1 and y0 < y1):
        raise ValueError("must be x0, y0, x1, y1 with x0 < x1 and y0 < y1")
    return box


_Text = Annotated[str, Field(min_length=1)]  # the length makes pydantic refuse half surrogates
_Name = Annotated[_Text, AfterValidator(_is_lower_case)]
_Box = Annotated[list[int], Field(min_length=4, max_length=4), AfterValidator(_is_upright)]


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _ObjectRow(_Row):
    name: _Name = Field(alias="class")
    color: _Name
    size: _Name
    place: _Name
    box: _Box


class _SceneRow(_Row):
    objects: list[_ObjectRow]
    background: _Name
    word: _Text | None


def _explain(fault: dict[str, Any]) -> str:
    key = ".".join(str(part) for part in fault["loc"]) or "facts"
    if fault["type"] == "missing":
        return f"{key} is missing"
    if fault["type"] == "extra_forbidden":
        return f"{key} is no key of facts: remove it or correct its name"
    if fault["type"] == "model_type":
        return f"{key}: must be an object with named values, got {fault['input']!r:.80}"
    return f"{key}: {fault['msg'].removeprefix('Value error, ')}, got {fault['input']!r:.80}"
