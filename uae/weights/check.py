"""Whether the weights that a recipe names are there, whole, the right ones, and accepted.

Fast by default: sizes, headers and configurations. No torch, so that a run's first step can do it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from uae.errors import ModelError
from uae.evaluation.judges.files import is_transformers
from uae.fingerprints import combined_sha256, file_sha256, files_sha256
from uae.models.bundle import is_remote, weights_root
from uae.recipe import Recipe
from uae.recipe.whole import ModelsRecipe
from uae.rewards.scorer_files import CONFIG_FILE
from uae.weights.architecture import Tensors, check_architecture, read_bundle, read_config
from uae.weights.fetching import check_manifest, fetch_manifest, remote_place
from uae.weights.headers import differences, named, read_folder
from uae.weights.licences import described, recognised
from uae.weights.manifest import MANIFEST, FileFacts, Manifest, read_manifest
from uae.weights.needs import Need, located, recipe_needs

if TYPE_CHECKING:
    from uae.store.s3 import Store

CheckTensors = Callable[[Path, Tensors], None]  # raises ModelError


class Weights(NamedTuple):
    """The weights folder of a recipe."""

    root: Path  # here, or where it is fetched to
    manifest: Manifest | None
    remote_sizes: dict[str, int] | None  # of a folder elsewhere


def open_weights(models: ModelsRecipe, store: Store | None = None) -> Weights:
    """Find a recipe's weights folder and read its manifest.

    Args:
        models: The recipe's section.
        store: Any bucket of the store, for a base in one; None opens AWS_ENDPOINT_URL.

    Raises:
        ModelError: If there is no base, or the recipe does not name the manifest beside it.
        StoreError: If store or hub cannot be reached.
    """
    if is_remote(models.base):
        manifest = fetch_manifest(models, store)
        root = weights_root(models.base, models.manifest)
        return Weights(root, manifest, remote_place(models, store).sizes())
    root = weights_root(models.base)
    found = read_manifest(root)
    if found is None and models.manifest is not None:
        raise ModelError(
            f"models.manifest names a manifest, and {root} has no {MANIFEST}: write it with `uae "
            f"weights manifest {root}`, or write `manifest: null`"
        )
    if found is None:
        return Weights(root, None, None)
    check_manifest(models, found[1])
    return Weights(root, found[0], None)


def check_weights(
    recipe: Recipe,
    store: Store | None = None,
    *,
    hashes: bool = False,
    check_tensors: CheckTensors | None = None,
) -> list[str]:
    """Return everything that is wrong with a recipe's weights, each in a line.

    Args:
        recipe: The recipe.
        store: Any bucket of the store, for a base in one; None opens AWS_ENDPOINT_URL.
        hashes: Whether to read every file and compare it with the manifest.
        check_tensors: Compares all tensors of a part with its class, where no manifest says what
            they must be. None compares telling ones.

    Raises:
        StoreError: If store or hub cannot be reached.
    """
    try:
        weights = open_weights(recipe.models, store)
        needs = recipe_needs(recipe)
    except ModelError as error:
        return [str(error)]
    faults = []
    for need, keys in _keys(needs).items():
        if weights.remote_sizes is not None and _is_listed(weights, need):
            found = _check_remote(weights, need)
        else:
            found = _check_local(weights, need, check_tensors, hashes=hashes)
        faults += [f"{keys}: {fault}" for fault in found]
    try:
        return [*faults, *_check_licences(recipe, weights, needs)]
    except ModelError as error:  # a configuration that cannot be read
        return [*faults, str(error)]


def required_licences(weights: Weights, needs: dict[str, Need]) -> dict[str, list[str]]:
    """Return the restricted licences of what a recipe names, with the parts that they cover."""
    found: dict[str, list[str]] = {}
    for need in dict.fromkeys(needs.values()):
        for licence, part in _restricted(weights, need):
            parts = found.setdefault(licence, [])
            parts += [part] if part not in parts else []
    return dict(sorted(found.items()))


def verified_sha256(models: ModelsRecipe, folder: Path) -> str:
    """Return `folder_sha256`, and compare the files with the manifest beside the base, if any.

    Raises:
        ModelError: If the recipe does not name the manifest that is there, or naming the files
            that are not as it says.
    """
    weights = open_weights(models)
    inside = _inside(weights, folder)
    files = files_sha256(folder)
    if weights.manifest is not None and inside is not None:
        listed = weights.manifest.files(inside)
        expected = {name[len(inside) + 1 :]: facts.sha256 for name, facts in listed.items()}
        if changed := sorted(dict(files.items() ^ expected.items())):
            raise ModelError(
                f"{folder} is not as its manifest says: {named(changed)}; fetch them again, or "
                f"write the manifest anew: `uae weights manifest {weights.root}`"
            )
    return combined_sha256(files)


def _check_licences(recipe: Recipe, weights: Weights, needs: dict[str, Need]) -> Iterator[str]:
    required = required_licences(weights, needs)
    accepted = recipe.models.accepted_licences
    missing = {name: parts for name, parts in required.items() if name not in accepted}
    for name, parts in missing.items():
        yield (
            f"models.accepted_licences: {described(name)} is not accepted; it covers "
            f"{', '.join(parts)}"
        )
    if missing:
        wanted = ", ".join(dict.fromkeys([*accepted, *required]))
        yield (
            "models.accepted_licences: read them, and if you accept them write "
            f"`accepted_licences: [{wanted}]`"
        )


def _restricted(weights: Weights, need: Need) -> Iterator[tuple[str, str]]:
    """Yield licence and part: as the manifest says, and as configurations tell."""
    if weights.manifest is not None:
        for name, part in weights.manifest.parts_of(need.inside).items():
            if part.restricted:
                yield part.licence, name
    folder = located(need, weights.root)
    for inside in ("", "encoder", "transformer"):
        path = folder / inside / "config.json"
        if path.is_file() and (licence := recognised(read_config(path))):
            shown = _inside(weights, folder / inside)
            yield licence, shown if shown is not None else str(folder / inside)


def _keys(needs: dict[str, Need]) -> dict[Need, str]:
    """Return each need once, with all keys that name it."""
    found: dict[Need, str] = {}
    for key, need in needs.items():
        found[need] = f"{found[need]}, {key}" if need in found else key
    return found


def _is_listed(weights: Weights, need: Need) -> bool:
    return weights.manifest is not None and bool(weights.manifest.files(need.inside))


def _inside(weights: Weights, folder: Path) -> str | None:
    """Return a folder's path below the weights folder; None if it lies elsewhere."""
    is_inside = folder.is_relative_to(weights.root)
    return folder.relative_to(weights.root).as_posix() if is_inside else None


def _check_remote(weights: Weights, need: Need) -> Iterator[str]:
    listed = weights.manifest.files(need.inside) if weights.manifest else {}
    for name, facts in listed.items():
        size = (weights.remote_sizes or {}).get(name)
        if fault := _size_fault(name, size, facts):
            yield fault


def _check_local(
    weights: Weights, need: Need, check_tensors: CheckTensors | None, *, hashes: bool
) -> Iterator[str]:
    folder = located(need, weights.root)
    inside = _inside(weights, folder)
    if not folder.is_dir():
        yield f"there is no folder {weights.root / need.inside}, nor {folder}"
        return
    faults = []
    if weights.manifest is not None and inside is not None:
        faults = [*_check_files(weights.root, weights.manifest, inside, hashes=hashes)]
        yield from faults
    recorded = weights.manifest if inside is not None else None
    if not faults:  # else the same would be said twice
        yield from _check_headers(weights.root, folder, recorded, check_tensors)


def _check_files(root: Path, manifest: Manifest, folder: str, *, hashes: bool) -> Iterator[str]:
    listed = manifest.files(folder)
    for name, facts in listed.items():
        path = root / name
        size = path.stat().st_size if path.is_file() else None
        if fault := _size_fault(str(path), size, facts):
            yield fault
        elif hashes and (found := file_sha256(path)) != facts.sha256:
            yield f"{path} has sha256 {found}, the manifest says {facts.sha256}"
    for path in sorted((root / folder).rglob("*")):
        name = path.relative_to(root).as_posix()
        is_hidden = any(part.startswith(".") for part in Path(name).parts)
        if path.is_file() and not is_hidden and name not in listed:
            yield f"{path} is not in the manifest: remove it, or write the manifest anew"


def _size_fault(name: str, size: int | None, facts: FileFacts) -> str | None:
    if size is None:
        return f"{name} is missing: the manifest names it"
    if size == facts.bytes:
        return None
    kind = "is cut off: it has" if size < facts.bytes else "is too long: it has"
    return f"{name} {kind} {size} of {facts.bytes} bytes; fetch it again"


def _check_headers(
    root: Path, folder: Path, manifest: Manifest | None, check_tensors: CheckTensors | None
) -> Iterator[str]:
    is_bundle = (folder / "model.json").is_file()
    try:
        read, faults = read_bundle(folder) if is_bundle else ({"": read_folder(folder)}, [])
    except ModelError as error:
        yield str(error)
        return
    yield from faults
    for part, tensors in read.items():
        path = folder / part
        recorded = manifest.parts.get(path.relative_to(root).as_posix()) if manifest else None
        if recorded is not None and recorded.tensors:
            if said := differences(recorded.tensors, tensors):
                yield f"{path} has other tensors than the manifest says; {said}"
        elif check_tensors is not None:
            try:
                check_tensors(path, tensors)
            except ModelError as error:
                yield str(error)
    if is_bundle:
        yield from check_architecture(folder, read)
    elif not is_transformers(folder) and not (folder / CONFIG_FILE).is_file():
        yield f"{folder} has neither config.json nor {CONFIG_FILE}"
