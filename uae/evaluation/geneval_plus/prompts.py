"""GenEval++'s prompt file.

JSON lines {"tag", "include": [{"class", "count", "color"?, "size"?, "region"?}], "exclude"?:
[{"class", "count"}], "prompt"}; the published file (github.com/yejy53/Echo-4o,
test_scripts/Geneval++.jsonl) holds 280 of them, 40 for each tag. Regions are absolute: parts of the
picture, not relations of objects. The checks below are what all of its rows fulfil.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from uae.errors import EvaluationError
from uae.evaluation.json_lines import read_json_lines

ATTRIBUTES: dict[str, tuple[str, ...]] = {  # tag -> what each of its objects has besides a count
    "color_attr": ("color",),
    "spatial_count_attr": ("region",),
    "color_spatial_attr": ("color", "region"),
    "color_count_attr": ("color",),
    "multi_object_count_attr": (),
    "size_spatial_attr": ("size", "region"),
    "counting": (),
}
REGIONS = ("left", "right", "above", "below")
SIZES = ("larger", "smaller")


@dataclass(frozen=True)
class Include:
    """Exactly `count` objects of a class, and what else is asked of them."""

    name: str
    count: int
    color: str | None = None
    size: str | None = None  # in comparison with the prompt's other object
    region: str | None = None


@dataclass(frozen=True)
class Exclude:
    """Fewer than `count` objects of a class."""

    name: str
    count: int


@dataclass(frozen=True)
class Prompt:
    """A text to paint and what the picture must hold."""

    tag: str
    text: str
    include: tuple[Include, ...]
    exclude: tuple[Exclude, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the row of the prompt file."""
        include: list[dict[str, Any]] = []
        for wanted in self.include:
            more = {"color": wanted.color, "size": wanted.size, "region": wanted.region}
            base = {"class": wanted.name, "count": wanted.count}
            include.append(base | {key: value for key, value in more.items() if value is not None})
        exclude = [{"class": entry.name, "count": entry.count} for entry in self.exclude]
        row: dict[str, Any] = {"tag": self.tag, "include": include}
        row |= {"exclude": exclude} if exclude else {}
        return row | {"prompt": self.text}


def read_prompts(text: str, source: str) -> list[Prompt]:
    """Read the content of a prompt file; blank lines are skipped.

    Args:
        text: Content of the file.
        source: Its name, for errors.

    Raises:
        EvaluationError: If it holds no prompt; or naming the line that is no JSON, has a key twice,
            has an unknown tag, key, region or size, a count that is no positive integer, lacks
            what its tag asks for, or repeats an earlier line.
    """
    prompts = read_json_lines(text, parse_prompt, source=source, what="a GenEval++ prompt")
    if not prompts:
        raise EvaluationError(f"{source} holds no prompt")
    return prompts


def parse_prompt(row: Any) -> Prompt:
    """Check one row of the file.

    Raises:
        ValueError: For what does not exist, is missing, or does not belong to the row's tag.
    """
    _check_keys("a prompt", row, {"tag", "include", "prompt"}, {"exclude"})
    tag = _one_of("tag", row["tag"], ATTRIBUTES)
    include = tuple(_include(entry, tag) for entry in _entries(row, "include"))
    if not include:
        raise ValueError("include is empty")
    if "size" in ATTRIBUTES[tag] and sorted(str(entry.size) for entry in include) != [*SIZES]:
        raise ValueError("sizes are relative: give two objects, one larger and one smaller")
    exclude = tuple(_exclude(entry) for entry in _entries(row, "exclude"))
    return Prompt(tag, _text("prompt", row["prompt"]), include, exclude)


def _entries(row: dict[str, Any], key: str) -> list[Any]:
    entries = row.get(key, [])
    if not isinstance(entries, list):
        raise ValueError(f"{key} must be a list, got {entries!r}")
    return entries


def _include(entry: Any, tag: str) -> Include:
    attributes = ATTRIBUTES[tag]
    _check_keys(f"an object of {tag}", entry, {"class", "count", *attributes})
    return Include(
        _text("class", entry["class"]),
        _count(entry["count"]),
        _text("color", entry["color"]) if "color" in attributes else None,
        _one_of("size", entry["size"], SIZES) if "size" in attributes else None,
        _one_of("region", entry["region"], REGIONS) if "region" in attributes else None,
    )


def _exclude(entry: Any) -> Exclude:
    _check_keys("an entry of exclude", entry, {"class", "count"})
    return Exclude(_text("class", entry["class"]), _count(entry["count"]))


def _check_keys(
    what: str, row: Any, needed: Collection[str], optional: Collection[str] = ()
) -> None:
    if not isinstance(row, dict):
        raise ValueError(f"{what} must be an object, got {row!r}")
    missing = sorted(set(needed) - row.keys())
    unknown = sorted(row.keys() - {*needed, *optional})
    if missing or unknown:
        raise ValueError(f"{what} lacks {missing} and has unknown {unknown}")


def _text(key: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{key} must be a text, got {value!r}")
    return value.strip()


def _count(value: object) -> int:
    if type(value) is not int or value < 1:
        raise ValueError(f"count must be a positive integer, got {value!r}")
    return value


def _one_of(key: str, value: object, allowed: Collection[str]) -> str:
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"unknown {key} {value!r}; known: {', '.join(allowed)}")
    return value
