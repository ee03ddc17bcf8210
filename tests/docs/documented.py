"""Commands as the documentation shows them, one for each line of a command block."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = (
    *ROOT.glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
    *(ROOT / "manifests").rglob("*.md"),
    *(ROOT / "benchmarks").rglob("*.md"),
)
PROGRAMS = {
    "make", "kubectl", "kfp", "buildah", "podman", "docker", "skopeo", "git", "curl", "sh",
    "sed", "aws",
}  # fmt: skip
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SHELLS = {"sh", "bash", "shell", "console"}


class Shown(NamedTuple):
    """A command and where it stands."""

    page: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return shlex.join(self.words)


def commands() -> list[Shown]:
    """Return every command of every page."""
    return [
        Shown(page.relative_to(ROOT).as_posix(), tuple(words))
        for page in sorted(PAGES)
        for line in _lines(page.read_text(encoding="utf-8"))
        if (words := _words(line)) and _is_program(words[0])
    ]


def _lines(text: str) -> Iterator[str]:
    """Yield the lines of shell blocks, fenced or indented by four, continued ones joined."""
    blocks = [body for language, body in FENCE.findall(text) if language in SHELLS]
    rest = FENCE.sub("", text)
    blocks += ["\n".join(line[4:] for line in rest.splitlines() if line.startswith("    "))]
    for block in blocks:
        yield from block.replace("\\\n", " ").splitlines()


def _words(line: str) -> list[str]:
    try:
        words = shlex.split(line, comments=True)
    except ValueError:  # prose or output with an apostrophe in it
        return []
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):  # variables set for the command
        words = words[1:]
    return words


def _is_program(word: str) -> bool:
    return word in PROGRAMS or word.startswith(".venv/bin/")
