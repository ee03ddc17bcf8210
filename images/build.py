"""Build the images: `make images`.

    .venv/bin/python -m uae_images.build [--engine E] [--images FILE] [control trainer evaluator]

Each image gets the name and tag of images.yaml, and leaves in images/build/ its bill of materials
(CycloneDX), a list of its licences, and how large it is and how long it took.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from uae.errors import UaeError
from uae_images.contents import IMAGE_NAMES
from uae_images.engines import Build, Engine
from uae_images.references import IMAGES_FILE, ImageReferences

ROOT = Path(__file__).parents[1]
CONTAINERFILE = ROOT / "images" / "Containerfile"
OUT = ROOT / "images" / "build"
UNKNOWN_REVISION = "unknown"


def main() -> int:
    """Build what the command line names, and return the exit code."""
    options = _parser().parse_args()
    try:
        engine = Engine.find(options.engine)
        references = ImageReferences.read(options.images)
        secrets = {"pip_conf": options.pip_conf, "ca_certificates": options.ca_certificates}
        for name in options.names or IMAGE_NAMES:
            build = describe(name, references, {k: v for k, v in secrets.items() if v})
            build_one(engine, build)
    except UaeError as error:
        print(f"images: {error}", file=sys.stderr)
        return 2
    return 0


def describe(name: str, references: ImageReferences, secrets: Mapping[str, Path]) -> Build:
    """Return what an image is built from.

    Raises:
        ImageReferenceError: If there is no such image.
    """
    base = references.bases.debian
    labels = {"org.opencontainers.image.base.digest": base.digest} if base.digest else {}
    if source := source_url():
        labels["org.opencontainers.image.source"] = source
    return Build(
        containerfile=CONTAINERFILE,
        context=ROOT,
        target=name,
        arguments={"BASE": str(base), "VERSION": version("uae"), "REVISION": revision()},
        labels=labels,
        secrets=secrets,
        tag=dict(references.images)[name].tagged,
    )


def build_one(engine: Engine, build: Build) -> None:
    """Build an image and write down what is in it.

    Raises:
        EngineError: If the engine fails.
    """
    from uae_images.inventory import read_inventory
    from uae_images.materials import write_materials

    print(f"{build.tag} with {engine.name}", flush=True)
    started = time.monotonic()
    engine.build(build)
    seconds = round(time.monotonic() - started, 1)
    OUT.mkdir(exist_ok=True)
    listed = engine.run(build.tag, ["python3", "-m", "uae_images.inventory"])
    write_materials(OUT, build.target, build.tag, read_inventory(listed))
    figures = {"image": build.tag, "build_seconds": seconds, "bytes": engine.size(build.tag)}
    (OUT / f"{build.target}.json").write_text(json.dumps(figures) + "\n", encoding="utf-8")
    print(f"{build.tag}: {figures['bytes'] / 1e6:,.0f} MB in {seconds:.0f} s")


def revision() -> str:
    """Return the commit that is built, with "-dirty" where files differ from it."""
    commit = _git("rev-parse", "HEAD")
    if not commit:
        return UNKNOWN_REVISION
    return f"{commit}-dirty" if _git("status", "--porcelain") else commit


def source_url() -> str:
    """Return where the source is published, without anything secret; empty where it is not."""
    url = _git("remote", "get-url", "origin")
    return url if url.startswith("https://") and "@" not in url else ""


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:  # built from an archive, where there is no git
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m uae_images.build", description="Build images.")
    parser.add_argument("names", nargs="*", choices=[[], *IMAGE_NAMES], help="default: all")
    parser.add_argument("--engine", default="", help="buildah, podman or docker; default: found")
    parser.add_argument("--images", type=Path, default=IMAGES_FILE, help="file of references")
    parser.add_argument("--pip-conf", type=Path, help="pip.conf for an index of your own")
    parser.add_argument(
        "--ca-certificates", type=Path, help="PEM file that it calls /etc/pip-ca.crt"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
