"""How fast pictures become shards, and shards become batches.

    python -m benchmarks.streaming --pairs 4000 --workers 1 2

Drawn JPEG files of about a megapixel are copied file by file, sharded, read and decoded to
512 x 512 pixels. Before every measurement their pages are dropped from the system's memory, and
afterwards what was written is flushed to the disk, so that copying and sharding do the same work.
Each is done `--repeats` times, by turns, and the fastest counts.
"""

import argparse
import io
import json
import os
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from benchmarks.measurement import Measurement, print_table, write_json
from uae.data.sharding.run import shard_data
from uae.data.streaming.buckets import BucketGrid
from uae.data.streaming.dataset import StreamingDataset
from uae.data.streaming.prefetch import Prefetcher

SHAPES = ((1024, 1024), (1280, 853), (853, 1280), (1024, 768), (768, 1024), (1600, 900))
NUM_DRAWN = 12  # others differ from these in their last bytes
WORDS = ("a", "red", "cat", "sits", "on", "the", "old", "wooden", "table", "near", "two", "cups")
CAPTION_WORDS = 250
MB = 10**6
SIDE, BATCH_SIZE = 512, 32
# Images that a stage consumes in a second on one GPU, ten times over.
UFG, STAGE_1 = 10 * 1.5, 10 * 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=4000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, len(os.sched_getaffinity(0))])
    parser.add_argument("--batches", type=int, default=20, help="read and decoded in each turn")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--place", type=Path, help="folder on the disk to be measured")
    parser.add_argument("--out", type=Path, default=Path("runs/streaming.json"))
    options = parser.parse_args()
    with TemporaryDirectory(dir=options.place) as folder:
        found = measure(Path(folder), options)
    print(f"load average {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores")
    print_table(found)
    settings = {name: str(value) for name, value in vars(options).items()}
    write_json(options.out, found, settings)


def measure(folder: Path, options: argparse.Namespace) -> list[Measurement]:
    source = folder / "pairs"
    num_bytes = draw(source, options.pairs)
    actions: dict[str, Callable[[Path], object]] = {
        "copy, file by file": lambda out: shutil.copytree(source, out)
    }
    for workers in options.workers:
        actions[f"uae shard, {workers} workers"] = partial(shard, source, workers)
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(options.repeats):
        for name, action in actions.items():
            seconds[name].append(timed(action, source, folder / "out"))
    found = [Measurement("size of a pair", num_bytes / options.pairs / 1000, "KB")]
    for name in actions:
        best = min(seconds[name])
        found.append(Measurement(name, num_bytes / MB / best, "MB/s"))
        found.append(Measurement(name, options.pairs / best, "pairs/s"))
    shard_data(str(source), str(folder / "shards"))
    for workers in options.workers:
        found += read(folder / "shards", workers, options)
    return found


def shard(source: Path, workers: int, out: Path) -> None:
    shard_data(str(source), str(out), num_workers=workers)


def draw(source: Path, count: int) -> int:
    """Write a data set of smooth pictures with some noise, and return its size in bytes."""
    rng = np.random.default_rng(0)
    drawn = [picture(rng, *SHAPES[place % len(SHAPES)]) for place in range(NUM_DRAWN)]
    (source / "images").mkdir(parents=True)
    with (source / "captions.jsonl").open("w", encoding="utf-8") as captions:
        for number in range(count):
            name = f"images/{number:07d}.jpg"
            (source / name).write_bytes(drawn[rng.integers(NUM_DRAWN)] + b"%d" % number)
            caption = " ".join(WORDS[place] for place in rng.integers(0, len(WORDS), CAPTION_WORDS))
            row = {"image_id": f"{number:07d}", "image": name, "caption": caption}
            captions.write(json.dumps({**row, "source": "drawn", "licence": "CC0-1.0"}) + "\n")
    return sum(path.stat().st_size for path in source.rglob("*") if path.is_file())


def picture(rng: np.random.Generator, width: int, height: int) -> bytes:
    small = Image.fromarray(rng.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8))
    smooth = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    noisy = (smooth + rng.integers(-8, 9, smooth.shape)).clip(0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(noisy).save(file, "JPEG", quality=85)
    return file.getvalue()


def timed(action: Callable[[Path], object], source: Path, out: Path) -> float:
    """Return the seconds from a cold source until the output is on the disk."""
    drop_pages(source)
    start = time.perf_counter()
    action(out)
    os.sync()
    seconds = time.perf_counter() - start
    shutil.rmtree(out)
    return seconds


def drop_pages(folder: Path) -> None:
    os.sync()
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read(shards: Path, workers: int, options: argparse.Namespace) -> list[Measurement]:
    """Return pairs in a second, and the processor time of one."""
    data = StreamingDataset.open(str(shards))
    order = data.order(BucketGrid(((SIDE, SIDE),)), BATCH_SIZE, seed=0, name="bench")
    rates, costs = [], []
    for turn in range(options.repeats):
        drop_pages(shards)
        first = turn * options.batches
        places = range(BATCH_SIZE)
        with Prefetcher(data, order, places=places, step=first, num_workers=workers) as stream:
            next(stream)  # opens and hashes the first window's shards
            start, spent = time.perf_counter(), time.process_time()
            for _ in range(options.batches):
                next(stream)
            count = options.batches * BATCH_SIZE
            rates.append(count / (time.perf_counter() - start))
            costs.append((time.process_time() - spent) / count)
    name = f"read and decode at {SIDE} px, {workers} threads"
    cores = STAGE_1 * min(costs)
    return [
        Measurement(name, max(rates), "pairs/s", at_least=UFG),
        Measurement(f"{name}: processor time", 1000 * min(costs), "ms/pair"),
        Measurement(f"{name}: cores for {STAGE_1} pairs/s", cores, "cores"),
    ]


if __name__ == "__main__":
    main()
