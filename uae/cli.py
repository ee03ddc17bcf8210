"""The `uae` command: one screen of subcommands. Everything heavy is imported when it is needed."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence

from uae.commands import (
    champion,
    cluster,
    data,
    evaluation,
    leaderboard,
    model,
    pipeline,
    planning,
    weights,
)
from uae.errors import UaeError

EXIT_USER_ERROR = 2
EXIT_SIGNAL = 128  # + its number, as shells count


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand and return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        code: int | None = options.command(options)
    except (UaeError, OSError) as error:  # OSError: a full disk, a folder that is read-only
        print(f"uae: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    except KeyboardInterrupt as interrupt:
        print("uae: stopped", file=sys.stderr)
        number: int = interrupt.args[0] if interrupt.args else signal.SIGINT
        return EXIT_SIGNAL + number
    return code or 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="uae",
        description="Train a unified model as an auto-encoder whose bottleneck is language.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for group in (
        pipeline,
        planning,
        weights,
        data,
        cluster,
        champion,
        model,
        evaluation,
        leaderboard,
    ):
        group.add_commands(commands)
    return parser


class _Version(argparse.Action):
    """Print the version, which takes an import that nothing else needs."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"uae {version('uae')}")
        parser.exit()


if __name__ == "__main__":
    sys.exit(main())
