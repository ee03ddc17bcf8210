"""Pin every image by digest: ask the registries, through skopeo, and write images.yaml.

    .venv/bin/python -m uae_images.pin [--file FILE] [--plain-http] [NAME ...]

A digest is looked up under the image's tag and takes its place in what is compiled; run it again
after a push. Who may read a registry is skopeo's matter: `skopeo login`, or its --authfile.
"""

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

from uae.errors import UaeError
from uae_images.references import IMAGES_FILE, ImageReference, ImageReferences

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class PinError(UaeError):
    """A digest that cannot be had."""


def main() -> int:
    """Pin what the command line names, and return the exit code."""
    options = _parser().parse_args()
    try:
        pinned = pin(options.file, set(options.names), plain_http=options.plain_http)
    except UaeError as error:
        print(f"pin: {error}", file=sys.stderr)
        return 2
    for line in pinned:
        print(line)
    return 0


def pin(path: Path, names: set[str], *, plain_http: bool = False) -> list[str]:
    """Write the digests that the registries give today; return what was done, a line an image.

    Nothing is written unless every digest could be had.

    Args:
        path: The file of references.
        names: Which of them, such as "debian" and "control"; empty means all.
        plain_http: Whether the registries speak HTTP, or have certificates that nobody signed.

    Raises:
        ImageReferenceError: If the file cannot be read.
        PinError: If there is no such image, no skopeo, or a registry has no such tag.
    """
    references = ImageReferences.read(path)
    values = references.model_dump()
    known = {name for group in values.values() for name in group}
    if unknown := sorted(names - known):
        raise PinError(
            f"no image {', '.join(unknown)} in {path}: it has {', '.join(sorted(known))}"
        )
    done = []
    for section, group in references:
        for name, reference in group:
            if not names or name in names:
                digest = registry_digest(reference, plain_http=plain_http)
                values[section][name]["digest"] = digest
                done.append(f"{reference.tagged} is {digest}{_change(reference, digest)}")
    ImageReferences.model_validate(values).write(path)
    return done


def registry_digest(reference: ImageReference, *, plain_http: bool = False) -> str:
    """Return the digest of what a registry has under an image's tag now.

    For an image of several platforms it is the digest of their list, which every platform's
    cluster can pull.

    Raises:
        PinError: If the name has no registry, skopeo is missing, or the registry does not have it.
    """
    if not _has_registry(reference.name):
        raise PinError(
            f"{reference.tagged} names no registry: push the image, and put the registry's address "
            f"before its name, such as registry.example/uae/{reference.name}"
        )
    program = shutil.which("skopeo")
    if program is None:
        raise PinError(
            "skopeo is not installed, and it is what asks registries: install it, or write the "
            "digest that your push printed"
        )
    command = [program, "inspect", "--no-tags", "--format", "{{.Digest}}"]
    command += ["--tls-verify=false"] if plain_http else []
    done = subprocess.run(
        [*command, f"docker://{reference.tagged}"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise PinError(f"no digest of {reference.tagged}: {done.stderr.strip()[-1000:]}")
    digest = done.stdout.strip()
    if not DIGEST.fullmatch(digest):
        raise PinError(f"skopeo gave no digest of {reference.tagged}, but {digest[:200]!r}")
    return digest


def _has_registry(name: str) -> bool:
    """Tell a registry's address from the first part of a plain name, as container tools do."""
    first, slash, _ = name.partition("/")
    return bool(slash) and ("." in first or ":" in first or first == "localhost")


def _change(reference: ImageReference, digest: str) -> str:
    if reference.digest == digest:
        return ", as before"
    return f", was {reference.digest}" if reference.digest else ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m uae_images.pin", description="Pin images by their digests."
    )
    parser.add_argument("names", nargs="*", help="such as debian or control; default: all")
    parser.add_argument("--file", type=Path, default=IMAGES_FILE, help="default: %(default)s")
    parser.add_argument(
        "--plain-http", action="store_true", help="the registry has no certificate that counts"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
