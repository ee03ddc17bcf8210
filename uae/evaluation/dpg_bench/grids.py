"""Four pictures of a prompt in one 2 x 2 grid, `images/<item_id>.png`: DPG-Bench's own layout."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from uae.errors import EvaluationError
from uae.evaluation.dpg_bench.rules import Item
from uae.evaluation.painting import IMAGES
from uae.evaluation.pictures import Pixels, cut_grid, make_grid, read_png, write_png
from uae.evaluation.systems.base import Failure, PictureRequest, System
from uae.seeds import derive_seed

BENCHMARK = "dpg_bench"
NUM_CROPS = 4


def item_seed(seed: int, item_id: str) -> int:
    """Return the seed of an item; picture n is painted with `derive_seed(item_seed, n)`."""
    return derive_seed(seed, BENCHMARK, item_id)


def places(item: Item) -> list[str]:
    """Return where the item's four pictures stand in a folder of pictures made elsewhere."""
    return [f"{BENCHMARK}/{item.item_id}/{crop}.png" for crop in range(NUM_CROPS)]


def grid_path(item: Item) -> str:
    """Return the grid's path in the result folder."""
    return f"{IMAGES}/{item.item_id}.png"


def paint_grids(
    system: System, items: Sequence[Item], seed: int, out: Path
) -> list[dict[str, Any]]:
    """Paint four pictures for each item, all in one batch, and write the grids.

    Returns:
        For each item {"image": path below `out`, "state": "painted" or "missing", "reason"}.
    """
    requests = [
        PictureRequest(item.text, derive_seed(item_seed(seed, item.item_id), crop), place)
        for item in items
        for crop, place in enumerate(places(item))
    ]
    answers = system.generate(requests)
    if len(answers) != len(requests):
        raise EvaluationError(f"{len(answers)} pictures for {len(requests)} requests")
    rows = []
    for index, item in enumerate(items):
        crops = answers[NUM_CROPS * index : NUM_CROPS * (index + 1)]
        faults = "; ".join(_faults(crops))
        if not faults:
            pictures = [crop for crop in crops if not isinstance(crop, Failure)]
            write_png(make_grid(pictures), out / grid_path(item))
        state = "missing" if faults else "painted"
        rows.append({"image": grid_path(item), "state": state, "reason": faults})
    return rows


def read_grids(rows: Sequence[dict[str, Any]], out: Path) -> list[list[Pixels] | str]:
    """Return the four pictures of each of `paint_grids`' rows, or why there are none.

    Raises:
        EvaluationError: If a grid that was painted is gone or broken.
    """
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        return list(pool.map(partial(_read_grid, out=out), rows))


def _read_grid(row: dict[str, Any], out: Path) -> list[Pixels] | str:
    if row["state"] == "missing":
        return str(row["reason"])
    path = out / str(row["image"])
    grid = read_png(path)
    try:
        return cut_grid(grid, name=path.name)
    except EvaluationError as error:
        return str(error)


def _faults(crops: Sequence[Pixels | Failure]) -> Iterator[str]:
    failures = [
        f"picture {crop}: {found.reason}"
        for crop, found in enumerate(crops)
        if isinstance(found, Failure)
    ]
    sizes = [f"{p.shape[1]} x {p.shape[0]}" for p in crops if not isinstance(p, Failure)]
    yield from failures
    if len(set(sizes)) > 1:
        yield f"pictures of {', '.join(sizes)} pixels make no grid"
