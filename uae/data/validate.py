"""From a source to a validated data set: read, profile, check, report, split, write shards."""

import base64
import io
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median

from PIL import Image

from uae.data.benchmark_rows import check_benchmark
from uae.data.data_report import Check, DataReport, write_data_report
from uae.data.dataset import Dataset, explain_faults, read_samples
from uae.data.profile import SampleProfile, profile_samples
from uae.data.sample import SPLITS, Sample
from uae.data.set_aside import count_set_aside
from uae.data.shards import write_shards
from uae.data.words import count_words
from uae.errors import DataError
from uae.recipe import Recipe
from uae.seeds import derive_seed
from uae.store.s3 import Store, parse_uri

FORMAT = 1
NUM_THUMBNAILS = 24
THUMBNAIL_PIXELS = 96


def validate_data(
    recipe: Recipe, source: str, out: Path, report_html: Path, store: Store | None = None
) -> dict[str, float]:
    """Profile and check a data set; write it as shards only if nothing is wrong.

    Writes `out/train/`, `out/heldout/` and, where rows say so, `out/benchmark/` as WebDataset
    shards with the image files unchanged, and `out/data.json`. The report is written in any case
    in which there are rows. With `recipe.data.streaming` the source is shards with an index, which
    are referred to and not copied (`uae.data.validate_stream`).

    Args:
        recipe: `recipe.data` has the limits, `recipe.seed` decides the split of unnamed rows,
            `recipe.evaluation` says how many prompts the benchmark rows must give.
        source: "starter", a folder or a .tar file, or s3://bucket/prefix.
        out: Must not exist, or be empty. It appears complete or not at all.
        report_html: Where the data report goes.
        store: Opens s3:// sources. None takes AWS_ENDPOINT_URL and the usual credentials from the
            environment.

    Returns:
        Counts and medians for the step's metrics.

    Raises:
        DataError: If there is no data, naming every bad image_id and the rule that it broke, or
            if the training split is too small for the recipe's early stopping.
        StoreError: If the bucket cannot be read.
    """
    _refuse_occupied(out)
    if recipe.data.streaming is not None:
        from uae.data.validate_stream import validate_stream

        return validate_stream(recipe, source, out, report_html, store)
    with local_source(source, store) as path:
        samples, faults = read_samples(path)
        if not samples and not faults:
            raise DataError(f"{source} has no samples: its captions or shards are empty")
        thumbnails, profiles = _profile(samples, recipe)
        report = DataReport(
            source, profiles, faults, check_samples(samples, profiles, recipe), thumbnails
        )
        write_data_report(report, report_html)
        if report.all_faults:
            raise DataError(explain_faults(source, report.all_faults))
        splits = split_samples(samples, recipe)
        count_set_aside(len(splits["train"]), recipe.num_set_aside)  # refuses too few
        _write(splits, out, source)
    return summarize({name: len(part) for name, part in splits.items()}, report)


@contextmanager
def local_source(source: str, store: Store | None = None) -> Iterator[Path]:
    """Yield a source as a local path; what came from a bucket is removed afterwards.

    Raises:
        StoreError: If the bucket cannot be read or AWS_ENDPOINT_URL is needed and not set.
    """
    if source == "starter":
        from uae.data.starter.vocabulary import STARTER_DATA

        yield STARTER_DATA
    elif source.startswith("s3://"):
        bucket, prefix = parse_uri(source)
        with tempfile.TemporaryDirectory(prefix="uae-data-") as folder:
            local = Path(folder) / "data"
            _open_store(source, bucket, store).get_prefix(prefix, local)
            yield local
    else:
        yield Path(source)


def split_samples(samples: Sequence[Sample], recipe: Recipe) -> dict[str, list[Sample]]:
    """Sort samples into splits; rows without one go to train or heldout.

    Which of them are held out depends on the seed and their ids, not on their order.

    Raises:
        DataError: If train or heldout is left empty.
    """
    heldout = held_out_ids([s.image_id for s in samples if s.split is None], recipe)
    splits: dict[str, list[Sample]] = {name: [] for name in SPLITS}
    for sample in samples:
        name = sample.split or ("heldout" if sample.image_id in heldout else "train")
        splits[name].append(replace(sample, split=name))
    for name in ("train", "heldout"):
        if not splits[name]:
            counts = {split: len(part) for split, part in splits.items()}
            raise DataError(
                f"no sample is left for {name} ({counts}): give at least 2 samples without a "
                f"split, or name some {name!r}"
            )
    return {name: part for name, part in splits.items() if part}


def held_out_ids(unnamed: Sequence[str], recipe: Recipe) -> set[str]:
    """Return which samples of those without a split are held out, by their ids."""
    shuffled = sorted(unnamed, key=lambda image_id: derive_seed(recipe.seed, "split", image_id))
    return set(shuffled[: max(1, round(recipe.data.heldout_fraction * len(unnamed)))])


def _refuse_occupied(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out} already exists: choose another folder, or remove it")


def _open_store(source: str, bucket: str, store: Store | None) -> Store:
    if store is not None:
        return store if store.bucket == bucket else store.for_bucket(bucket)
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    if not endpoint:
        raise DataError(f"cannot open {source}: set AWS_ENDPOINT_URL to the store's address")
    return Store.connect(endpoint, bucket)


def _profile(
    samples: Sequence[Sample], recipe: Recipe
) -> tuple[list[tuple[Sample, str]], list[SampleProfile]]:
    stride = max(1, len(samples) // NUM_THUMBNAILS)
    shown = set(range(0, stride * NUM_THUMBNAILS, stride))
    thumbnails, profiles = [], []
    for index, (profile, image) in enumerate(profile_samples(samples, recipe.data)):
        profiles.append(profile)
        if image is not None and index in shown:
            thumbnails.append((samples[index], thumbnail(image)))
    return thumbnails, profiles


def thumbnail(image: Image.Image) -> str:
    """Return a small picture as a data: URI; the image is used up."""
    image.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
    encoded = io.BytesIO()
    image.save(encoded, "WEBP", quality=80)
    return "data:image/webp;base64," + base64.b64encode(encoded.getvalue()).decode()


def check_samples(
    samples: Sequence[Sample], profiles: Sequence[SampleProfile], recipe: Recipe
) -> list[Check]:
    """Check a profile, and the benchmark rows among the samples, against the recipe."""
    if not profiles:
        return []
    from uae.data.expectations import check_profile

    return [*check_profile(profiles, recipe.data), *check_benchmark(samples, recipe.evaluation)]


def _write(splits: dict[str, list[Sample]], out: Path, source: str) -> None:
    with new_folder(out) as partial:
        for name, part in splits.items():
            write_shards(partial / name, name, part)
        everything = [sample for part in splits.values() for sample in part]
        describe(
            partial,
            revision=Dataset(everything).revision,
            counts={name: len(part) for name, part in splits.items()},
            has_facts=all(sample.facts is not None for sample in everything),
            source=source,
            licences=Counter(sample.licence for sample in everything),
            caption_words=Counter(count_words(sample.caption) for sample in everything),
        )


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Give a folder that takes its place when all went well."""
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        yield partial
        partial.chmod(0o755)
        partial.replace(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def describe(
    folder: Path,
    *,
    licences: Counter[str],
    caption_words: Counter[int],
    **known: object,
) -> None:
    """Write `data.json` into the folder of a validated data set."""
    description = {
        "format": FORMAT,
        **known,
        "licences": dict(licences.most_common()),
        "caption_words": dict(sorted(caption_words.items())),
    }
    text = json.dumps(description, indent=2)
    (folder / "data.json").write_text(text, encoding="utf-8")


def summarize(counts: Mapping[str, int], report: DataReport) -> dict[str, float]:
    """Return counts and medians for the step's metrics."""
    profiles = report.profiles
    return {
        "num_samples": float(len(profiles)),
        **{f"num_{name}": float(counts.get(name, 0)) for name in SPLITS},
        "num_near_duplicates": float(len(report.near_duplicates)),
        "caption_words/median": float(median(p.caption_words for p in profiles)),
        "min_side/smallest": float(min(p.min_side or 0 for p in profiles)),
    }
