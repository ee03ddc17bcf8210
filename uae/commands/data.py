"""`uae shard`: pictures on disk or in a bucket become shards that training streams."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from uae.commands.options import Commands

if TYPE_CHECKING:
    from uae.data.sharding.plan import Job, Plan
    from uae.data.sharding.run import Progress
    from uae.data.streaming.index import ShardIndex

MB = 10**6


def add_commands(commands: Commands) -> None:
    """Add the commands of this group."""
    shard = commands.add_parser("shard", help="turn a folder of pictures into WebDataset shards")
    shard.add_argument(
        "source", help="folder with captions.jsonl, or s3://bucket/prefix of such a folder"
    )
    shard.add_argument(
        "out",
        help="new folder, or s3://bucket/prefix; what an interrupted run left is gone on with",
    )
    shard.add_argument(
        "--shard-size-mb",
        type=int,
        default=256,
        help="MiB that a shard has at most; default: %(default)s",
    )
    shard.add_argument(
        "--workers",
        type=int,
        default=0,
        help="processes that write; default: one for each core, 8 at most",
    )
    shard.set_defaults(command=_shard)


def _shard(options: argparse.Namespace) -> int:
    import os

    from uae.data.sharding.run import shard_data

    with _shown_progress() as progress:
        index = shard_data(
            options.source,
            options.out,
            shard_size_mb=options.shard_size_mb,
            num_workers=options.workers or min(8, len(os.sched_getaffinity(0))),
            progress=progress,
        )
    print(_summary(index, options.out))
    return 0


@contextmanager
def _shown_progress() -> Iterator[Progress]:
    """Show what a run does on the terminal; nothing where there is none."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Display

    from uae.data.sharding.run import Progress

    console = Console(stderr=True)
    columns = ("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn())
    display = Display(
        *columns,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    task = display.add_task("reading captions", total=None)

    def rows(count: int) -> None:
        display.update(task, description=f"reading captions: {count} pairs")

    def planned(plan: Plan) -> None:
        text = f"{plan.num_samples} pairs, {len(plan.jobs)} shards"
        display.update(task, description=text, total=plan.num_bytes)

    def written(job: Job, is_earlier: bool) -> None:
        display.advance(task, job.num_bytes)
        if is_earlier:
            console.print(f"{job.name}: kept from an earlier run", highlight=False)

    with display:
        yield Progress(rows, planned, written)


def _summary(index: ShardIndex, out: str) -> str:
    buckets = Counter(index.samples["bucket"].to_pylist()).most_common()
    shapes = ", ".join(f"{size} {count / len(index):.0%}" for size, count in buckets)
    return (
        f"{out}: {len(index)} pairs in {len(index.shards)} shards, {index.num_bytes / MB:.1f} MB\n"
        f"shapes, as sizes of 512 x 512 pixels: {shapes}\n"
        f"caption words: median {_median(index)}"
    )


def _median(index: ShardIndex) -> int:
    words: list[int] = sorted(index.caption_words.tolist())
    return words[len(words) // 2]
