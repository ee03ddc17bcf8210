"""The registry as lines of text."""

from __future__ import annotations

from collections.abc import Sequence

from uae.export.registry import Champion

HEAD = ("PROMOTED (UTC)", "RUN", "BY", "UNIFIED-BENCH", "REPLACED", "REASON")


def describe_history(history: Sequence[Champion], bucket: str) -> str:
    """Return one line for each promotion, the newest first, the champion marked.

    Args:
        history: Every promotion, oldest first; the last is the champion.
        bucket: The bucket.
    """
    if not history:
        return f"no champion in {bucket}: nothing was promoted yet"
    champion = history[-1]
    rows = [HEAD, *(_row(entry) for entry in reversed(history))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    table = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    marked = [f"{'*' if number == 1 else ' '} {line}" for number, line in enumerate(table)]
    return "\n".join([f"champion: s3://{bucket}/{champion.model_prefix}", *marked])


def _row(entry: Champion) -> tuple[str, ...]:
    scores = entry.unified_bench
    return (
        entry.promoted_at[:19].replace("T", " "),
        entry.run_id,
        entry.action,
        f"{scores.overall:.2f}",
        entry.parent or "-",
        " ".join((entry.reason or "-").split()),
    )
