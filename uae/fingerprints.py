"""Names of contents: sha256 of files, folders and JSON values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any


def file_sha256(path: Path) -> str:
    """Return the hash of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def folder_sha256(folder: Path) -> str:
    """Return one hash over the relative names and contents of all files below a folder.

    Hidden files and folders do not count: tools that download weights keep time stamps there.
    """
    return combined_sha256(files_sha256(folder))


def files_sha256(folder: Path) -> dict[str, str]:
    """Return the hash of every file below a folder by relative name, without hidden ones."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    names = {path: path.relative_to(folder) for path in paths}
    return {
        name.as_posix(): file_sha256(path)
        for path, name in names.items()
        if not any(part.startswith(".") for part in name.parts)
    }


def combined_sha256(files: Mapping[str, str]) -> str:
    """Return one hash over names and hashes of files."""
    total = hashlib.sha256()
    for name in sorted(files, key=PurePosixPath):
        total.update(f"{name}\0{files[name]}\n".encode())
    return total.hexdigest()


def json_sha256(value: Any) -> str:
    """Return the hash of a JSON value, independent of key order."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
