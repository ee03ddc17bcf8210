"""A storage of the tests' own for buildah, and a Debian base in it that no registry gave.

Needs root, buildah and debootstrap. Nothing of the machine's own images is read or changed.
"""

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

STORAGE = Path("/var/tmp/uae-test-images")
# As Debian's slim images have it: documents stay out, except who may copy what.
DPKG_PATHS = """\
path-exclude /usr/share/doc/*
path-include /usr/share/doc/*/copyright
path-exclude /usr/share/info/*
path-exclude /usr/share/locale/*
path-exclude /usr/share/man/*
"""
CLEAN = """
cd "$1"
rm -rf var/cache/apt/* var/lib/apt/lists/* var/log/* usr/share/info usr/share/locale usr/share/man
find usr/share/doc -type f ! -name copyright -delete
"""
IMPORT = """
container=$(buildah from scratch)
root=$(buildah mount "$container")
tar -C "$1" -c . | tar -C "$root" -x
buildah umount "$container" > /dev/null
buildah config --cmd /bin/sh "$container"
buildah commit -q "$container" "$2" > /dev/null
buildah rm "$container" > /dev/null
"""


def use_own_storage(*, keep: bool) -> None:
    """Let buildah, in this process and what it starts, work in STORAGE and without containers.

    Args:
        keep: Whether what an earlier run left is used again.
    """
    if not keep:
        _run("rm", "-rf", str(STORAGE))
    STORAGE.mkdir(exist_ok=True)
    settings = STORAGE / "storage.conf"
    settings.write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{STORAGE}/graph"\nrunroot = "{STORAGE}/run"\n'
    )
    os.environ |= {"CONTAINERS_STORAGE_CONF": str(settings), "BUILDAH_ISOLATION": "chroot"}


def provide_base(reference: str, suite: str) -> None:
    """Make a Debian base under the name that the images ask for, unless there is one."""
    if subprocess.run(["buildah", "inspect", reference], capture_output=True).returncode == 0:
        return
    root = STORAGE / "debian"
    _run("rm", "-rf", str(root))
    _run("debootstrap", "--variant=minbase", "--include=ca-certificates", suite, str(root))
    (root / "etc/dpkg/dpkg.cfg.d/docker").write_text(DPKG_PATHS)
    _run("sh", "-euc", CLEAN, "sh", str(root))
    _run("sh", "-euc", IMPORT, "sh", str(root), reference)


def compressed_bytes(images: Sequence[str]) -> list[int]:
    """Return how much a node pulls for each image: its layers as registries keep them."""
    layout = STORAGE / "layout"
    _run("rm", "-rf", str(layout))
    for number, image in enumerate(images):  # into one folder, so that shared layers are made once
        target = f"oci:{layout}:{number}"
        _run("buildah", "push", "--quiet", "--compression-format=gzip", image, target)
    manifests = json.loads((layout / "index.json").read_text())["manifests"]
    sizes = [_layer_bytes(layout, manifest["digest"]) for manifest in manifests]
    _run("rm", "-rf", str(layout))
    return sizes


def _layer_bytes(layout: Path, digest: str) -> int:
    manifest = json.loads((layout / "blobs" / digest.replace(":", "/")).read_text())
    return sum(layer["size"] for layer in manifest["layers"])


def _run(*command: str) -> None:
    subprocess.run(command, check=True)
