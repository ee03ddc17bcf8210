"""Write the closed lists that the images install from: exact versions, nothing that is not needed.

    .venv/bin/python -m uae_images.lists

The versions are those of the environment that this runs in, which was installed from
constraints.txt: what was tested is what is shipped. The lists are for Linux on x86-64 and Debian's
Python, so they are written there.
"""

import platform
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from uae.replacement import replaced_file
from uae_images.contents import (
    IMAGE_NAMES,
    Contents,
    ContentsError,
    normal,
    requirements_file,
)

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
PLATFORM = ("Linux", "x86_64", (3, 11))
EXTRAS = ("ocr",)


def main() -> None:
    """Write the list of every image, and the list of what makes the wheel."""
    check_platform()
    for name, text in texts().items():
        with replaced_file(requirements_file(name)) as fresh:
            fresh.write_text(text, encoding="utf-8")
        print(requirements_file(name))


def check_platform() -> None:
    """Refuse to write lists for another platform than the images'.

    Raises:
        ContentsError: If this is another one.
    """
    if this_platform() != PLATFORM:
        told = f"the lists are for {PLATFORM}, this is {this_platform()}: write them there"
        raise ContentsError(told)


def this_platform() -> tuple[str, str, tuple[int, int]]:
    """Return system, processor and Python version, as PLATFORM has those of the images."""
    return platform.system(), platform.machine(), sys.version_info[:2]


def texts() -> dict[str, str]:
    """Return the text of every list by its name: the images', and `build` for making the wheel."""
    settings = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))
    project = settings["project"]
    lines = list(project["dependencies"])
    for extra in EXTRAS:
        lines += project["optional-dependencies"][extra]
    contents = Contents.read()
    lists = {image: closure(lines, contents.left_out_of(image)) for image in IMAGE_NAMES}
    builders = closure(settings["build-system"]["requires"], set())
    return {name: _text(pinned) for name, pinned in {**lists, "build": builders}.items()}


def _text(pinned: dict[str, str]) -> str:
    head = "# Written by `python -m uae_images.lists` from pyproject.toml and images/contents.yaml."
    lines = [f"{package}=={pinned[package]}" for package in sorted(pinned)]
    return "\n".join([head, *lines]) + "\n"


def read_list(name: str) -> dict[str, str]:
    """Return the versions in a closed list, by package."""
    lines = requirements_file(name).read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def closure(asked: list[str], without: set[str]) -> dict[str, str]:
    """Return the versions of everything that is asked for, and of what that depends on in turn.

    Args:
        asked: What to begin with.
        without: Names that are not followed.

    Raises:
        ContentsError: If something of it is not installed here.
    """
    found: dict[str, str] = {}
    followed: set[tuple[str, str]] = set()  # package and extra; "" is the package itself
    waiting = [Requirement(line) for line in asked]
    while waiting:
        requirement = waiting.pop()
        name = normal(requirement.name)
        if name in without:
            continue
        try:
            found[name] = version(name)
        except PackageNotFoundError as error:
            raise ContentsError(f"{name} is not installed here: run `make install-dev`") from error
        for extra in {"", *requirement.extras}:
            if (name, extra) not in followed:
                followed.add((name, extra))
                waiting += _dependencies(name, extra)
    return found


def _dependencies(package: str, extra: str) -> Iterator[Requirement]:
    for line in requires(package) or []:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            yield requirement


if __name__ == "__main__":
    main()
