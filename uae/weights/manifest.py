"""manifest.json: every file of a weights folder by hash, and where each part comes from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from uae.data.sample import is_safe_relative
from uae.errors import ModelError
from uae.fingerprints import combined_sha256, file_sha256
from uae.recipe.base import Sha256, Strict
from uae.replacement import replaced_file

MANIFEST = "manifest.json"


class FileFacts(Strict):
    """A file's content, by name."""

    sha256: Sha256
    bytes: Annotated[int, Field(ge=0)]


class Part(Strict):
    """A model, or a part of a bundle that has a source and a licence of its own."""

    source: str  # a folder, s3://bucket/prefix, hub:org/name, or how it was made
    revision: str | None  # of the source: a hub's commit
    licence: str
    restricted: bool  # to be accepted by name in recipes that use this part
    files: dict[str, FileFacts]  # by path below the weights folder
    tensors: dict[str, str]  # name -> type and shape; empty for a part without weights


class Manifest(Strict):
    """The content of manifest.json."""

    format: Literal[1] = 1
    parts: dict[str, Part]  # by path below the weights folder

    def files(self, folder: str = "") -> dict[str, FileFacts]:
        """Return the files below a folder, or all, by path below the weights folder."""
        found = {name: facts for part in self.parts.values() for name, facts in part.files.items()}
        return {name: facts for name, facts in found.items() if _is_below(name, folder)}

    def parts_of(self, folder: str) -> dict[str, Part]:
        """Return the parts that a folder consists of."""
        return {name: part for name, part in self.parts.items() if _is_below(name, folder)}

    def sha256(self, folder: str) -> str:
        """Return what `folder_sha256` gives for a folder that is as the manifest says."""
        files = self.files(folder).items()
        return combined_sha256({name[len(folder) + 1 :]: facts.sha256 for name, facts in files})


def parse_manifest(data: bytes, where: str) -> Manifest:
    """Read a manifest's bytes.

    Raises:
        ModelError: If it is none, or names a file outside the weights folder or in two parts.
    """
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        raise ModelError(
            f"{where} is no manifest: {error}; write it with `uae weights manifest`"
        ) from error
    seen: set[str] = set()
    for part in manifest.parts.values():
        for name in part.files:
            if not is_safe_relative(name) or str(PurePosixPath(name)) != name:
                raise ModelError(f"{where} names {name!r}, which would leave the weights folder")
            if name in seen:
                raise ModelError(f"{where} names {name!r} in two parts")
            seen.add(name)
    return manifest


def read_manifest(root: Path) -> tuple[Manifest, str] | None:
    """Return a weights folder's manifest and its sha256; None if it has none.

    Raises:
        ModelError: If it is not valid.
    """
    path = root / MANIFEST
    if not path.is_file():
        return None
    data = path.read_bytes()
    return parse_manifest(data, str(path)), hashlib.sha256(data).hexdigest()


def write_manifest(root: Path, manifest: Manifest) -> str:
    """Write a weights folder's manifest; return its sha256, which a recipe names."""
    ordered = manifest.model_copy(update={"parts": dict(sorted(manifest.parts.items()))})
    text = json.dumps(ordered.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"
    with replaced_file(root / MANIFEST) as fresh:
        fresh.write_text(text, encoding="utf-8")
    return hashlib.sha256(text.encode()).hexdigest()


def describe_files(root: Path, files: Iterator[Path]) -> dict[str, FileFacts]:
    """Hash files below a weights folder."""
    return {
        path.relative_to(root).as_posix(): FileFacts(
            sha256=file_sha256(path), bytes=path.stat().st_size
        )
        for path in files
    }


def _is_below(name: str, folder: str) -> bool:
    return not folder or name == folder or name.startswith(f"{folder}/")
