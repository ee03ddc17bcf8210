"""Four pictures of a prompt in one 2 x 2 grid, `images/<item_id>.png`: DPG-Bench's own layout."""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image

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


def check_grids(items: Sequence[Item], out: Path) -> None:
    """Refuse grids of several sizes among those that are painted already, as `check_one_size`."""
    sizes = {}
    for path in map(grid_path, items):
        if (out / path).is_file():
            width, height = picture_size(out / path)
            sizes[path] = width // 2, height // 2
    check_one_size(sizes)


def check_one_size(sizes: Mapping[str, tuple[int, int]]) -> None:
    """Refuse pictures of several sizes: what is of another one may be no grid, or be scaled.

    The published script cuts all grids at one resolution. A single picture in the place of each
    grid cannot be told from grids.

    Args:
        sizes: File -> width and height of a picture in it, which is a quarter of a grid.

    Raises:
        EvaluationError: Naming the first file and one with pictures of another size.
    """
    first = next(iter(sizes), None)
    for name, size in sizes.items():
        if first is not None and size != sizes[first]:
            raise EvaluationError(
                f"the pictures of {BENCHMARK} must have one size: in {first} they have "
                f"{sizes[first][0]} x {sizes[first][1]} pixels, in {name} {size[0]} x {size[1]}"
            )


def picture_size(path: Path) -> tuple[int, int]:
    """Return width and height as a picture is shown, without decoding it.

    Raises:
        EvaluationError: If the file is no picture.
    """
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
            return (image.height, image.width) if turned else (image.width, image.height)
    except (OSError, Image.DecompressionBombError) as error:
        raise EvaluationError(f"cannot read the image {path}: {error}") from error


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
