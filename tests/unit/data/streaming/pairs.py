"""Pictures, indexes and processes that several tests use."""

import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from uae.data.streaming.index import Entry, Shard, make_index

ROOT = Path(__file__).parents[4]
SHAPES = ((64, 64), (96, 64), (64, 96))


def start(*command, **options):
    """Start a Python program in a process of its own, with its parent's end its own."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, *map(str, command)], cwd=ROOT, **pipes, **options)


def contents(folder):
    """Return every file of a folder, by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def index_of(*shards):
    """An index of shards, each a list of picture sizes."""
    entries, place = [], 0
    for shard in shards:
        entries.append([])
        for width, height in shard:
            entries[-1].append(Entry(f"s{place}", width, height, 3, None, 512, 100, 50))
            place += 1
    files = [
        Shard(f"pairs-{number:06d}.tar", len(part), 10240, f"{number:064d}")
        for number, part in enumerate(entries)
    ]
    return make_index(files, entries)


def bulky(folder, encode_image, count, num_bytes):
    """Add pictures with noise behind their last chunk, which makes their files large."""
    noise = np.random.default_rng(0)
    for place in range(count):
        size = SHAPES[place % len(SHAPES)]
        image = encode_image(Image.new("RGB", size, (place % 256, place // 256, 7)))
        folder.add(f"s{place:04d}", image + noise.bytes(num_bytes))
