"""`uae leaderboard`: results of evaluations as one page."""

from __future__ import annotations

import argparse
from pathlib import Path

from uae.commands.options import Commands, add_out

SAMPLES = 32


def add_commands(commands: Commands) -> None:
    """Add the commands of this group."""
    board = commands.add_parser(
        "leaderboard",
        help="show results of evaluations, side by side and sample by sample, as one HTML page",
    )
    board.add_argument(
        "results", nargs="+", type=Path, help="folders with results, searched with all below"
    )
    add_out(board, "page to write, .html", Path("leaderboard.html"), ".html")
    board.add_argument("--title", default="Leaderboard", help="of the page; default: %(default)s")
    board.add_argument(
        "--samples",
        type=_count,
        default=SAMPLES,
        metavar="N",
        help="samples of each table whose pictures and evidence the page holds, evenly spread over "
        "the prompts; all are listed; default: %(default)s",
    )
    board.add_argument(
        "--no-reported",
        action="store_true",
        help="leave published scores out of the page; default: they are shown",
    )
    board.set_defaults(command=_leaderboard)


def _leaderboard(options: argparse.Namespace) -> None:
    from uae.leaderboard.page import write_leaderboard

    out = write_leaderboard(
        options.results,
        options.out,
        title=options.title,
        max_samples=options.samples,
        reported=() if options.no_reported else None,
    )
    print(f"{out} ({out.stat().st_size / 2**20:.1f} MiB)")


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of samples: give 0 or more")
    return int(text)
