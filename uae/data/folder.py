"""Reading a folder of pictures with a captions.jsonl beside them."""

from pathlib import Path
from typing import Any

from uae.data.sample import (
    BadRow,
    Fault,
    FileSlice,
    Sample,
    is_safe_relative,
    is_unicode,
    make_sample,
    parse_json,
)

CAPTIONS = "captions.jsonl"


def read_folder(folder: Path) -> tuple[list[Sample], list[Fault]]:
    """Read every row of `folder/captions.jsonl`.

    Images are found but not opened.

    Returns:
        The samples in the order of their lines, and what is wrong with the other lines.
    """
    root = folder.resolve()
    samples, faults = [], []
    with (root / CAPTIONS).open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            where = f"{CAPTIONS} line {number}"
            if not line.strip():
                continue
            try:
                samples.append(_read_row(root, parse_json(line, where), where))
            except BadRow as error:
                faults.append(error.fault)
    return samples, faults


def _read_row(root: Path, values: dict[str, Any], where: str) -> Sample:
    image_id = values.get("image_id")
    named = image_id if isinstance(image_id, str) and image_id else where
    name = values.pop("image", None)
    if not isinstance(name, str):
        raise BadRow(named, "image is a relative path", f"got {name!r:.100}")
    return make_sample(values, where, _find_image(root, name, named))


def _find_image(root: Path, name: str, where: str) -> FileSlice:
    if not is_unicode(name):
        raise BadRow(where, "image is valid Unicode", f"half a surrogate pair in {name!r:.200}")
    if not is_safe_relative(name):
        raise BadRow(where, "image path stays inside the data folder", f"got {name!r:.200}")
    path = root / name
    try:
        if path.resolve() != path:
            raise BadRow(where, "image path has no symbolic link", f"got {name!r:.200}")
        if not path.is_file():
            raise BadRow(where, "image file exists", f"no file {name!r:.200}")
        return FileSlice(path, 0, path.stat().st_size)
    except OSError as error:
        reason = error.strerror or error
        raise BadRow(where, "image file can be found", f"{name!r:.200}: {reason}") from error
