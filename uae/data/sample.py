"""One image-caption pair, and the JSON row that describes it on disk."""

import json
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from uae.data.facts import SceneFacts
from uae.errors import DataError

SPLITS = ("train", "heldout", "benchmark")
REQUIRED_KEYS = ("image_id", "caption", "source", "licence")
OPTIONAL_KEYS = ("split", "facts")
# Ids become file and tar member names; a dot would end the WebDataset key early.
IMAGE_ID = re.compile(r"[A-Za-z0-9_-]{1,80}")


class Fault(NamedTuple):
    """A broken rule: where (an image_id, or a line that has none), which rule, what was seen."""

    where: str
    rule: str
    detail: str


class BadRow(DataError):
    """A row that cannot become a sample; `fault` says why."""

    def __init__(self, where: str, rule: str, detail: str) -> None:
        super().__init__(f"{where}: {rule}: {detail}")
        self.fault = Fault(where, rule, detail)


@dataclass(frozen=True)
class FileSlice:
    """An encoded image that stays on disk until it is read."""

    path: Path
    offset: int
    num_bytes: int

    def read(self) -> bytes:
        """Return the bytes.

        Raises:
            DataError: If the file is gone or shorter than when it was listed.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                data = file.read(self.num_bytes)
        except OSError as error:
            raise DataError(f"cannot read {self.path}: {error.strerror or error}") from error
        if len(data) != self.num_bytes:
            raise DataError(f"{self.path} has changed since it was listed: it is shorter now")
        return data


@dataclass(frozen=True)
class Sample:
    """An image-caption pair with its origin. `image` is the encoded file, in memory or on disk."""

    image_id: str
    caption: str
    source: str
    licence: str
    split: str | None
    facts: SceneFacts | None
    image: bytes | FileSlice

    @property
    def num_bytes(self) -> int:
        """Size of the encoded image file."""
        return len(self.image) if isinstance(self.image, bytes) else self.image.num_bytes

    def read_bytes(self) -> bytes:
        """Return the encoded image file."""
        return self.image if isinstance(self.image, bytes) else self.image.read()

    def row(self) -> dict[str, Any]:
        """Return the JSON row without `image`, optional keys only where known."""
        values: dict[str, Any] = {key: getattr(self, key) for key in REQUIRED_KEYS}
        if self.split is not None:
            values["split"] = self.split
        if self.facts is not None:
            values["facts"] = self.facts.to_json()
        return values


def parse_json(text: bytes, where: str) -> dict[str, Any]:
    """Read one JSON object.

    Raises:
        BadRow: If it is not UTF-8, not JSON, not an object, or names a key twice.
    """
    try:
        values = json.loads(text.decode("utf-8"), object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        raise BadRow(where, "is one JSON object", str(error)) from error
    if not isinstance(values, dict):
        raise BadRow(where, "is one JSON object", f"got {type(values).__name__}")
    return values


def make_sample(values: dict[str, Any], where: str, image: bytes | FileSlice) -> Sample:
    """Build a sample from a JSON row (without `image`) and its encoded file.

    Args:
        values: The row.
        where: What to call the row in an error when its image_id is unusable.
        image: The encoded file.

    Raises:
        BadRow: If a key is missing, unknown or of the wrong type.
    """
    image_id = check_keys(values, where)
    for key in (*REQUIRED_KEYS, *(["split"] if values.get("split") is not None else [])):
        if not isinstance(values[key], str):
            raise BadRow(image_id, f"{key} is text", f"got {values[key]!r:.80}")
        if not is_unicode(values[key]):
            raise BadRow(image_id, f"{key} is valid Unicode", "it has half a surrogate pair")
    facts = values.get("facts")
    try:
        parsed = None if facts is None else SceneFacts.from_json(facts)
    except DataError as error:
        raise BadRow(image_id, "facts are complete and nothing else", str(error)) from error
    texts = {key: values[key] for key in REQUIRED_KEYS}
    return Sample(**texts, split=values.get("split"), facts=parsed, image=image)


def check_keys(values: dict[str, Any], where: str) -> str:
    """Return the row's image_id after checking which keys it has.

    Raises:
        BadRow: If a required key is missing, a key is unknown, or the id is not a plain name.
    """
    image_id = values.get("image_id")
    if not isinstance(image_id, str) or not IMAGE_ID.fullmatch(image_id):
        detail = f"got {image_id!r:.100}; use 1 to 80 letters, digits, - and _"
        raise BadRow(where, "image_id is a plain name", detail)
    missing = [key for key in REQUIRED_KEYS if key not in values]
    unknown = sorted(set(values) - {*REQUIRED_KEYS, *OPTIONAL_KEYS})
    if missing:
        also = f"; unknown keys: {', '.join(unknown)}" if unknown else ""
        raise BadRow(image_id, "has every required key", f"missing {', '.join(missing)}{also}")
    if unknown:
        allowed = ", ".join((*REQUIRED_KEYS, "image", *OPTIONAL_KEYS))
        detail = f"unknown {', '.join(unknown)}; allowed: {allowed}"
        raise BadRow(image_id, "has no unknown key", detail)
    return image_id


def is_safe_relative(name: str) -> bool:
    """Say whether a name stays inside the folder or archive that it is relative to."""
    path = PurePosixPath(name)
    plain = bool(name) and "\\" not in name and "\0" not in name
    return plain and not path.is_absolute() and ".." not in path.parts and path.parts != ()


def is_unicode(text: str) -> bool:
    """Say whether a text can be written as UTF-8: JSON may hold half of a surrogate pair."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object; plain JSON would keep the last of two equal keys without a word."""
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"keys stand twice: {', '.join(twice)}")
    return values
