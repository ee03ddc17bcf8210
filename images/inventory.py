"""What is installed here, with licences: run inside an image.

python3 -m uae_images.inventory > inventory.json
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from email.message import Message
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Literal, NamedTuple, cast

from uae_images.contents import normal

DEBIAN_DOCUMENTS = Path("/usr/share/doc")
NO_LICENCE = "not stated"
IN_WORDS = "its own text"  # in /usr/share/doc/<package>/copyright
_CLASSIFIER = re.compile(r"License :: (?:OSI Approved :: )?(.+)")
_SPDX_LIKE = re.compile(r"[\w.+() -]{1,60}")  # anything longer is a licence's text, not its name


class Package(NamedTuple):
    """One installed package."""

    kind: Literal["pypi", "deb"]
    name: str
    version: str
    licence: str
    homepage: str = ""


def main() -> None:
    """Print every package as JSON."""
    packages = sorted([*python_packages(), *debian_packages()])
    json.dump([package._asdict() for package in packages], sys.stdout, indent=1)


def read_inventory(text: str) -> list[Package]:
    """Read what `main` printed."""
    return [Package(**entry) for entry in json.loads(text)]


def python_packages() -> Iterator[Package]:
    """Return Python's packages."""
    for found in distributions():
        yield python_package(found)


def python_package(found: Distribution) -> Package:
    """Describe one of Python's packages."""
    metadata = cast(Message, found.metadata)
    name = normal(str(metadata["Name"]))
    return Package("pypi", name, found.version, python_licence(metadata), _homepage(metadata))


def python_licence(metadata: Message) -> str:
    """Return a package's licence: its SPDX expression, its short text or its classifiers."""
    expression, text = metadata.get("License-Expression"), str(metadata.get("License") or "")
    if expression:
        return str(expression)
    lines = (str(line) for line in metadata.get_all("Classifier") or [])
    named = [match[1] for line in lines if (match := _CLASSIFIER.fullmatch(line))]
    if _SPDX_LIKE.fullmatch(text.strip()) and text.strip().upper() != "UNKNOWN":
        return text.strip()
    return " AND ".join(named) or NO_LICENCE


def _homepage(metadata: Message) -> str:
    for line in metadata.get_all("Project-URL") or []:
        label, _, url = str(line).partition(", ")
        if label.lower() in {"homepage", "source", "repository", "source code"}:
            return url
    return str(metadata.get("Home-page") or "")


def debian_packages() -> Iterator[Package]:
    """Return Debian's packages."""
    listed = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${Package}\t${Version}\t${Homepage}\n"],
        capture_output=True,
        text=True,
        check=True,
    )
    for line in listed.stdout.splitlines():
        name, number, homepage = line.split("\t")
        path = DEBIAN_DOCUMENTS / name / "copyright"
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        yield Package("deb", name, number, debian_licence(text), homepage)


def debian_licence(text: str) -> str:
    """Return the names of all licences that a Debian copyright file gives.

    Older files are prose: of those, the names of the common licences that they refer to.
    """
    names = re.findall(r"^License:[ \t]*(\S.*?)\s*$", text, re.MULTILINE)
    if not names:
        names = re.findall(r"/usr/share/common-licenses/([\w.-]*\w)", text)
    return ", ".join(dict.fromkeys(names)) or (IN_WORDS if text else NO_LICENCE)


if __name__ == "__main__":
    main()
