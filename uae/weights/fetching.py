"""Weights in a bucket or on a hub come to this machine, once, and only as the manifest has them.

They are kept as `uae-weights-<user>/<sha256 of the manifest>/` among the machine's caches, see
`uae.store.caches`. A folder is fetched beside its place under a lock, every file is compared with
the manifest, and then it is moved there: what lies in its place is whole. Other processes of the
machine wait for it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from uae.errors import ModelError
from uae.fingerprints import file_sha256
from uae.models.bundle import BUCKET, HUB, fetched_folder, is_remote
from uae.recipe import Recipe
from uae.recipe.whole import ModelsRecipe
from uae.replacement import replaced_atomically, replaced_file
from uae.weights.manifest import MANIFEST, Manifest, parse_manifest
from uae.weights.needs import Benchmark, Need, base_name, benchmark_needs, stage_needs
from uae.weights.places import Place, is_licence, open_place

if TYPE_CHECKING:
    from uae.store.s3 import Store


def remote_place(models: ModelsRecipe, store: Store | None) -> Place:
    """Open the weights folder of a base in a bucket or on a hub.

    Raises:
        ModelError: If the address does not name a bundle in a weights folder.
        StoreError: If store or hub cannot be reached.
    """
    return open_place(_weights_address(models.base), store)


def _weights_address(base: str) -> str:
    """Return the address of the weights folder that a base elsewhere lies in."""
    root = base.rstrip("/").rpartition("/")[0]
    needed = "@" if base.startswith(HUB) else BUCKET
    if needed not in root or root.endswith("/"):
        raise ModelError(
            f"models.base {base!r} names no bundle in a weights folder: give "
            "s3://bucket/prefix/BUNDLE or hub:org/name@revision/BUNDLE"
        )
    return root


def fetch_manifest(models: ModelsRecipe, store: Store | None = None) -> Manifest:
    """Return the manifest of a base in a bucket or on a hub; it is fetched once.

    Raises:
        ModelError: If the recipe names none, or another one than is there, or the base's address
            is none.
        StoreError: If store or hub cannot be reached.
    """
    _weights_address(models.base)  # also of one that was fetched under a whole address
    root = fetched_folder(models.manifest) if models.manifest else None
    if root is None or not (root / MANIFEST).is_file():
        data = _read_manifest(remote_place(models, store))
        check_manifest(models, hashlib.sha256(data).hexdigest())
        assert models.manifest is not None  # for the type: a missing one was refused
        root = _own_folder(models.manifest)
        with replaced_file(root / MANIFEST) as fresh:
            fresh.write_bytes(data)
    return parse_manifest((root / MANIFEST).read_bytes(), f"the manifest of {models.base}")


def check_manifest(models: ModelsRecipe, found: str) -> None:
    """Refuse weights unless the recipe names the manifest that lies beside them.

    Raises:
        ModelError: With the hash to write into the recipe.
    """
    if models.manifest is None:
        raise ModelError(
            f"models.base {models.base!r} has a {MANIFEST} beside it, and models.manifest is null, "
            f"so any weights would do: write its hash into the recipe, `manifest: {found}`"
        )
    if models.manifest != found:
        raise ModelError(
            f"the manifest of {models.base} has sha256 {found}, the recipe's models.manifest is "
            f"{models.manifest}: these are other weights; take the right ones, or write `manifest: "
            f"{found}` if you mean these"
        )


def fetch_for_stage(
    recipe: Recipe, stage: str, store: Store | None, *, starts_from_base: bool
) -> None:
    """Fetch what a stage reads, where the base lies elsewhere.

    Raises:
        ModelError: If a file is not as the manifest says.
        StoreError: If store or hub fails.
    """
    if is_remote(recipe.models.base):
        needs = stage_needs(recipe, stage, starts_from_base=starts_from_base)
        _fetch(recipe.models, needs.values(), store)


def fetch_for_benchmark(recipe: Recipe, benchmark: Benchmark, store: Store | None) -> None:
    """Fetch what judges in a benchmark, where the base lies elsewhere; see `fetch_for_stage`."""
    if is_remote(recipe.models.base):
        _fetch(recipe.models, benchmark_needs(recipe, benchmark).values(), store)


def fetch_licences(models: ModelsRecipe, store: Store | None, folder: Path) -> Path | None:
    """Fetch the licences of a base bundle that lies elsewhere; return `folder`, or None.

    Raises:
        ModelError: If a file is not as the manifest says.
        StoreError: If store or hub fails.
    """
    if not is_remote(models.base):
        return None
    manifest, place = fetch_manifest(models, store), remote_place(models, store)
    base = base_name(models.base)
    for name in manifest.files(base):
        inside = name.removeprefix(f"{base}/")
        if is_licence(inside) or inside.startswith("LICENSES/"):
            _fetch_file(place, manifest, name, folder / inside)
    return folder


def fetch_outline(models: ModelsRecipe, store: Store | None, folder: Path) -> None:
    """Make a folder of all files that a manifest names, empty but for the base's model.json.

    What looks for files by their names can look there, before any weights are fetched.

    Raises:
        ModelError: If the manifest is not the recipe's, or names no such bundle.
        StoreError: If store or hub cannot be reached.
    """
    manifest = fetch_manifest(models, store)
    for name in manifest.files():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    info = f"{base_name(models.base)}/model.json"
    if info not in manifest.files():
        raise ModelError(f"models.base {models.base!r}: its manifest has no {info}")
    (folder / info).unlink()
    _fetch_file(remote_place(models, store), manifest, info, folder / info)


def _fetch(models: ModelsRecipe, needs: Iterable[Need], store: Store | None) -> None:
    manifest = fetch_manifest(models, store)
    assert models.manifest is not None  # for the type: a missing one was refused
    root = _own_folder(models.manifest)
    place: Place | None = None
    for folder in dict.fromkeys(need.inside for need in needs):
        names = manifest.files(folder)
        if not names or (root / folder).is_dir():
            continue
        place = place or remote_place(models, store)
        with _locked(root / f".{folder.replace('/', '.')}.lock"):
            if (root / folder).is_dir():  # another process was faster
                continue
            with replaced_atomically(root / folder) as partial:
                for name in names:
                    _fetch_file(place, manifest, name, partial / name[len(folder) + 1 :])


def _fetch_file(place: Place, manifest: Manifest, name: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    place.fetch(name, target)
    wanted, found = manifest.files(name)[name].sha256, file_sha256(target)
    if found != wanted:
        raise ModelError(
            f"{place.address}/{name} has sha256 {found}, its manifest says {wanted}: it was "
            "changed or cut off; put the right file there, or write its manifest anew"
        )


def _read_manifest(place: Place) -> bytes:
    if MANIFEST not in place.sizes():
        raise ModelError(
            f"{place.address} has no {MANIFEST}: write it with `uae weights manifest FOLDER` "
            "before the folder is put there"
        )
    root = _own_folder("unchecked")
    path = root / f"{os.getpid()}.json"
    try:
        place.fetch(MANIFEST, path)
        return path.read_bytes()
    finally:
        path.unlink(missing_ok=True)


def _own_folder(name: str) -> Path:
    """Return a folder that no other user can have put files into."""
    folder = fetched_folder(name)
    folder.parent.mkdir(mode=0o700, exist_ok=True)
    if folder.parent.stat().st_uid != os.getuid():
        raise ModelError(f"{folder.parent} belongs to another user: remove it, or set TMPDIR")
    folder.mkdir(exist_ok=True)
    return folder


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # the kernel lets go of it if this process dies
        yield
