"""Options that several commands share, and readers that refuse a wrong value before any work."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

# argparse has no public name for it, and at run time it takes no parameter.
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_run_root(parser: argparse.ArgumentParser) -> None:
    """Add --run-root."""
    parser.add_argument(
        "--run-root", type=Path, default=Path("runs"), help="folder of runs; default: %(default)s"
    )


def add_out(parser: argparse.ArgumentParser, what: str, default: Path, *suffixes: str) -> None:
    """Add --out, a file with one of these suffixes."""
    parser.add_argument(
        "--out", type=writable(*suffixes), default=default, help=f"{what}; default: %(default)s"
    )


def seed(text: str) -> int:
    """Read a seed."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no seed: give a whole number, 0 or more")
    return int(text)


def count(text: str) -> int:
    """Read a number of things."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no count: give a whole number, 1 or more")
    return int(text)


def seconds(text: str) -> float:
    """Read a length of time."""
    value = _number(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no time: give seconds, more than 0")
    return value


def positive(text: str) -> float:
    """Read a number above 0."""
    value = _number(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}: give a number above 0")
    return value


def _number(text: str) -> float:
    """Read any number; what is none comes out as one that no option takes."""
    try:
        return float(text)
    except ValueError:
        return -1.0


def writable(*suffixes: str) -> Callable[[str], Path]:
    """Return what reads the name of a file to write, and refuses it before the work is done."""

    def read(text: str) -> Path:
        path = Path(text)
        if path.suffix not in suffixes:
            raise argparse.ArgumentTypeError(f"{text!r} must end in {' or '.join(suffixes)}")
        if path.is_dir():
            raise argparse.ArgumentTypeError(f"{text!r} is a folder: name a file")
        if not path.parent.is_dir():
            raise argparse.ArgumentTypeError(
                f"{text!r}: there is no folder {str(path.parent)!r}; create it first"
            )
        return path

    return read
