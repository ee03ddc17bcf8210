"""Draws the shipped data set: `python -m uae.data.starter.build` writes it anew, byte for byte."""

import io
import random
import shutil
from collections.abc import Iterator

from uae.data.sample import Sample
from uae.data.shards import write_shard
from uae.data.starter.captions import complete_caption, terse_caption
from uae.data.starter.scenes import Split, draw_scene, sample_facts
from uae.data.starter.vocabulary import STARTER_DATA

SEED = 20260
COUNTS: dict[Split, int] = {"train": 1200, "heldout": 200, "benchmark": 200}
COMPLETE_SHARE = 0.5  # of the captions; the others are terse
SOURCE = "composed from Fluent Emoji Flat by Microsoft Corporation"
LICENCE = "MIT"


def draw_samples(split: Split, count: int) -> Iterator[Sample]:
    """Yield scenes of a split, no composition twice."""
    rng = random.Random(f"{SEED}/{split}")
    seen: set[str] = set()
    while len(seen) < count:
        facts = sample_facts(rng, split=split)
        said = complete_caption(facts)
        if said in seen:
            continue
        seen.add(said)
        caption = said if rng.random() < COMPLETE_SHARE else terse_caption(facts, rng)
        file = io.BytesIO()
        draw_scene(facts).save(file, "WEBP", lossless=True, method=6)
        name = f"{split}-{len(seen) - 1:05d}"
        yield Sample(name, caption, SOURCE, LICENCE, split, facts, file.getvalue())


def main() -> None:
    """Write one shard for each split, and the licence beside them."""
    shutil.rmtree(STARTER_DATA, ignore_errors=True)
    STARTER_DATA.mkdir(parents=True)
    for split, count in COUNTS.items():
        path = STARTER_DATA / f"{split}-000000.tar"
        written = write_shard(path, draw_samples(split, count))
        print(f"{path.name}: {written} scenes, {path.stat().st_size / 1e6:.1f} MB")
    shutil.copy(STARTER_DATA.parent / "artwork" / "LICENSE", STARTER_DATA / "LICENSE")


if __name__ == "__main__":
    main()
