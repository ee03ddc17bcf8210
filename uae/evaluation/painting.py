"""Pictures of a system under test, painted into a result folder; a failed one is a missing one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from uae.evaluation.pictures import Pixels, read_png, write_png
from uae.evaluation.systems.base import Failure, PictureRequest, System

IMAGES = "images"


def paint(system: System, requests: Sequence[PictureRequest], out: Path) -> list[dict[str, Any]]:
    """Paint one batch into `out/images`.

    Returns:
        For each request {"image": path below `out`, "state": "painted" or "missing", "reason"}.
    """
    rows = []
    for request, found in zip(requests, system.generate(requests), strict=True):
        image = image_path(request.place)
        if isinstance(found, Failure):
            rows.append({"image": image, "state": "missing", "reason": found.reason})
        else:
            write_png(found, out / image)
            rows.append({"image": image, "state": "painted", "reason": ""})
    return rows


def image_path(place: str) -> str:
    """Return where a picture stands in a result folder: its place without the benchmark's name."""
    return f"{IMAGES}/{place.partition('/')[2]}"


def read_painted(rows: Sequence[dict[str, Any]], out: Path) -> list[Pixels | None]:
    """Return the pictures of `paint`'s rows; None for a missing one.

    Raises:
        EvaluationError: If a picture that was painted is gone or broken.
    """
    return [
        None if row["state"] == "missing" else read_png(out / str(row["image"])) for row in rows
    ]
