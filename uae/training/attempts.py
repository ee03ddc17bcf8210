"""Attempts at checkpoints, and which world has the place where they lie.

    opened/000003-9f31c2ab.json            a world has opened the place; the last one has it
    update-00000012/000003-9f31c2ab/...    its attempt at the checkpoint after update 12

A world that was given up may still write: its node is cut off, or a killed pod ends its upload. It
writes to its own attempts only. Before it commits one or deletes something it looks who has the
place. An opening is a file of its own, so that no late write puts an earlier one in its stead.
"""

import re
import secrets
from collections.abc import Iterable
from typing import NamedTuple

from uae.training.areas import MANIFEST, Area
from uae.training.messages import OtherProcessFailed

_OPENED = "opened"
_OPENING = r"\d{6}-[0-9a-f]{8}"  # number, and what tells two of the same moment apart
_OPENED_FILE = re.compile(rf"{_OPENED}/({_OPENING})\.json")
_ATTEMPT_FILE = re.compile(rf"update-(\d{{8,}})/({_OPENING})/[^/]+")


class Attempt(NamedTuple):
    """One world's checkpoint of one update, whole or not; a later one is greater."""

    opening: str
    step: int

    @property
    def folder(self) -> str:
        """Where its files lie."""
        return f"update-{self.step:08d}/{self.opening}"


class Hold:
    """A world's hold of a place, which ends when another one opens it."""

    def __init__(self, area: Area, opening: str) -> None:
        """Know an opening that `open_place` returned to the main process."""
        self._area, self.opening = area, opening

    def is_seen(self) -> bool:
        """Whether this process sees the opening."""
        return _opened_file(self.opening) in self._area.names()

    def require(self, names: Iterable[str] | None = None) -> None:
        """Check that this world has the place.

        Args:
            names: Of all files there; None lists them.

        Raises:
            OtherProcessFailed: If another one has opened it since. This type, as the others of this
                world lose their main process, and the failure says nothing of the new world.
        """
        newest = max(_openings(self._area.names() if names is None else names), default=None)
        if newest != self.opening:
            what = f"opened again since, as {newest}" if newest else "emptied since"
            raise OtherProcessFailed(
                f"the place of the checkpoints, opened by these processes as {self.opening}, was "
                f"{what}: they commit and delete nothing there, and end; the newer run goes on"
            )

    def has_left(self, attempt: Attempt) -> bool:
        """Whether an attempt is this world's or that of an earlier one."""
        return attempt.opening == self.opening or _number(attempt.opening) < _number(self.opening)


def open_place(area: Area) -> str:
    """Take the place from whoever has it; return the opening."""
    names = area.names()
    before = _openings(names)
    known = before | {attempt.opening for attempt in attempts(names)}
    number = 1 + max(map(_number, known), default=0)
    opening = f"{number:06d}-{secrets.token_hex(4)}"
    area.put_json(_opened_file(opening), None)
    for other in before:
        area.delete(_opened_file(other))
    return opening


def attempts(names: Iterable[str]) -> set[Attempt]:
    """Return the attempts among all files."""
    found = map(_ATTEMPT_FILE.fullmatch, names)
    return {Attempt(match[2], int(match[1])) for match in found if match}


def whole(names: Iterable[str]) -> list[Attempt]:
    """Return those that are whole checkpoints, the oldest first."""
    present = set(names)
    return sorted(one for one in attempts(present) if f"{one.folder}/{MANIFEST}" in present)


def strays(names: Iterable[str]) -> list[str]:
    """Return files below updates that are of no attempt."""
    return [n for n in names if n.startswith("update-") and not _ATTEMPT_FILE.fullmatch(n)]


def newest_checkpoint(area: Area) -> str | None:
    """Return the update of the newest whole checkpoint, as its folder is named."""
    found = whole(area.names())
    return found[-1].folder.partition("/")[0] if found else None


def _openings(names: Iterable[str]) -> set[str]:
    return {match[1] for match in map(_OPENED_FILE.fullmatch, names) if match}


def _opened_file(opening: str) -> str:
    return f"{_OPENED}/{opening}.json"


def _number(opening: str) -> int:
    return int(opening.partition("-")[0])
