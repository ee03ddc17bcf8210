"""Writing manifest.json: files are hashed, tensors compared with their classes and written down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from uae.errors import ModelError
from uae.rewards.scorer_files import CONFIG_FILE
from uae.weights.architecture import Tensors, check_architecture, read_bundle, read_config
from uae.weights.expected import check_part
from uae.weights.headers import read_folder
from uae.weights.licences import is_restricted, recognised
from uae.weights.manifest import Manifest, Part, describe_files, read_manifest, write_manifest

OURS = "apache-2.0"  # of what is made here and comes from no published model
_SCORERS = "scorers"
_MADE_HERE = ("model.json", "connector", "LICENSES")  # of a bundle


class Origin(NamedTuple):
    """Where a part comes from."""

    source: str
    revision: str | None
    licence: str


def weights_folder_of(folder: Path) -> Path:
    """Return the weights folder that a bundle, scorer, detector or judge lies in."""
    parent = folder.absolute().parent
    return parent.parent if parent.name == _SCORERS else parent


def record(root: Path, folders: Mapping[Path, Mapping[str, Origin]]) -> str:
    """Write folders into a weights folder's manifest; other folders' entries stay.

    Args:
        root: The weights folder.
        folders: Models in it, each with the origins of its parts: by the part's name in a bundle,
            by "" for others.

    Returns:
        The manifest's sha256, for `models.manifest`.

    Raises:
        ModelError: If weights do not fit their configuration.
    """
    found = read_manifest(root)
    inside = [folder.relative_to(root).as_posix() for folder in folders]
    others = {
        name: part
        for name, part in (found[0].parts if found else {}).items()
        if not any(_is_of(name, folder) for folder in inside)
    }
    return _write(root, others, folders)


def record_all(root: Path, licences: Mapping[str, str]) -> str:
    """Write the manifest of a weights folder at hand, and return its sha256.

    What an earlier manifest says of sources, and of licences that are not given, is kept.

    Args:
        root: The weights folder.
        licences: Licences by part, or by folder for all of its parts.

    Raises:
        ModelError: If weights do not fit their configuration, there are none, or a part's licence
            is neither given nor known.
    """
    if not root.is_dir():
        raise ModelError(f"there is no folder {root}")
    models = sorted(_models(root))
    if not models:
        raise ModelError(f"{root} is no weights folder: no bundle, and no model with config.json")
    earlier = read_manifest(root)
    known = earlier[0].parts if earlier else {}
    folders, unknown = {}, []
    for folder in models:
        origins = {}
        for part in _part_paths(folder):
            name = (folder / part).relative_to(root).as_posix()
            licence = _licence(root, folder, part, licences, known)
            if licence is None:
                unknown.append(name)
                continue
            old = known.get(name)
            source = (old.source, old.revision) if old else (str(folder / part), None)
            origins[part] = Origin(*source, licence)
        folders[folder] = origins
    if unknown:
        raise ModelError(
            f"no licence is known of {', '.join(unknown)}: give it, such as `--licence "
            f"{unknown[0]}=apache-2.0`; a bundle's or scorer's folder stands for all of its parts"
        )
    return _write(root, {}, folders)  # without folders that are gone


def _write(
    root: Path, others: Mapping[str, Part], folders: Mapping[Path, Mapping[str, Origin]]
) -> str:
    """Write the manifest once all folders were read: a fault among them leaves the earlier one."""
    parts = dict(others)
    for folder, origins in folders.items():
        parts |= dict(_parts(root, folder, origins))
    return write_manifest(root, Manifest(parts=parts))


def _licence(
    root: Path, folder: Path, part: str, given: Mapping[str, str], known: Mapping[str, Part]
) -> str | None:
    for path in (folder / part, folder):
        if licence := given.get(path.relative_to(root).as_posix()):
            return licence
    config = folder / part / "config.json"
    if config.is_file() and (licence := recognised(read_config(config))):
        return licence
    name = (folder / part).relative_to(root).as_posix()
    if name in known:
        return known[name].licence
    return OURS if part in _MADE_HERE else None


def _parts(root: Path, folder: Path, origins: Mapping[str, Origin]) -> Iterator[tuple[str, Part]]:
    tensors = read_tensors(folder)
    for name in _part_paths(folder):
        path, origin = folder / name, origins[name]
        files = [path] if path.is_file() else sorted(_visible(path))
        yield (
            path.relative_to(root).as_posix(),
            Part(
                source=origin.source,
                revision=origin.revision,
                licence=origin.licence,
                restricted=is_restricted(origin.licence),
                files=describe_files(root, iter(files)),
                tensors=tensors.get(name, {}),
            ),
        )


def read_tensors(folder: Path) -> dict[str, dict[str, str]]:
    """Return names, types and shapes of a model's tensors by part, once they fit their class.

    Raises:
        ModelError: Naming what does not fit.
    """
    found: Mapping[str, Tensors]
    faults: list[str] = []
    if _is_bundle(folder):
        found, faults = read_bundle(folder)
        faults += check_architecture(folder, found)
    else:
        found = {"": read_folder(folder)}
    if faults:
        raise ModelError("\n".join(faults))
    for part, tensors in found.items():
        check_part(folder / part, tensors)
    return {
        part: {name: str(facts) for name, facts in sorted(tensors.items())}
        for part, tensors in found.items()
    }


def _part_paths(folder: Path) -> list[str]:
    """Return the names of a bundle's parts: what lies in its folder. Other models have one."""
    if not _is_bundle(folder):
        return [""]
    return [path.name for path in sorted(folder.iterdir()) if not path.name.startswith(".")]


def _models(root: Path) -> Iterator[Path]:
    for folder in [*root.iterdir(), *root.glob(f"{_SCORERS}/*")]:
        is_model = any((folder / name).is_file() for name in ("config.json", CONFIG_FILE))
        if not folder.name.startswith(".") and (is_model or _is_bundle(folder)):
            yield folder


def _is_bundle(folder: Path) -> bool:
    return (folder / "model.json").is_file()


def _is_of(name: str, folder: str) -> bool:
    return name == folder or name.startswith(f"{folder}/")


def _visible(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        is_hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not is_hidden:
            yield path
