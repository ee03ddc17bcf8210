"""Validating shards with an index, one by one: nothing is kept of them but what is measured.

A validated data set of this kind refers to its shards (`uae.data.streaming.reference`). Only the
few pairs that are read out of order are copied: those held out, those of benchmarks, and those
that early stopping looks at.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from uae.data.data_report import DataReport, write_data_report
from uae.data.dataset import explain_faults
from uae.data.profile import SampleProfile, profile_samples
from uae.data.sample import SPLITS, Fault, Sample
from uae.data.set_aside import count_set_aside
from uae.data.shards import read_shards, write_shard, write_shards
from uae.data.streaming.buckets import Integers
from uae.data.streaming.cache import ShardFiles
from uae.data.streaming.index import Shard
from uae.data.streaming.place import FolderPlace, Place, open_place
from uae.data.streaming.reference import IndexFiles, read_index, write_reference
from uae.data.validate import (
    NUM_THUMBNAILS,
    check_samples,
    describe,
    held_out_ids,
    new_folder,
    summarize,
    thumbnail,
)
from uae.errors import DataError
from uae.fingerprints import file_sha256
from uae.recipe import Recipe
from uae.seeds import derive_seed

if TYPE_CHECKING:
    from uae.store.s3 import Store

MAX_COPIED = 20_000  # pairs that are held out or of benchmarks
DECODES = "image decodes"  # the rule that `on_broken: replace` bears
SET_ASIDE = "set_aside"


class Assignment(NamedTuple):
    """Where each sample goes, by its number in the index."""

    split: list[str]  # "set_aside" for the training samples that early stopping looks at
    counts: dict[str, int]  # of `split`

    @property
    def by_split(self) -> dict[str, int]:
        """Return the number of samples in each split of the data set."""
        counts = dict(self.counts)
        counts["train"] = counts.get("train", 0) + counts.pop(SET_ASIDE, 0)
        return {name: counts[name] for name in SPLITS if counts.get(name)}


class _Part(NamedTuple):
    """What was found in a shard."""

    profiles: list[SampleProfile]
    faults: list[Fault]
    thumbnails: list[tuple[Sample, str]]
    benchmark: list[Sample]  # without pictures
    have_facts: bool


def validate_stream(
    recipe: Recipe, source: str, out: Path, report_html: Path, store: Store | None = None
) -> dict[str, float]:
    """Profile and check indexed shards; refer to them only if nothing is wrong.

    Where `on_broken` is `replace`, pictures that do not decode are left out, counted and named.
    See `uae.data.validate.validate_data` for the rest.
    """
    files = read_index(source, store)
    assignment = assign(files, recipe)
    with new_folder(out) as partial:
        look = _Look(files, assignment, recipe, open_place(source, store), partial)
        report = look.report(source)
        write_data_report(report, report_html)
        left_out = {fault.where for fault in report.all_faults if look.bears(fault)}
        faults = [fault for fault in report.all_faults if not look.bears(fault)]
        if faults:
            raise DataError(explain_faults(source, faults))
        kept = [profile for profile in report.profiles if profile.image_id not in left_out]
        counts = _copy(partial, assignment)
        trained = _trained(files, assignment, left_out)
        write_reference(partial, files, trained)
        counts["train"] = len(trained) + counts.pop(SET_ASIDE, 0)
        splits = {name: counts[name] for name in SPLITS if counts.get(name)}
        _refuse_empty(splits, source)
        words = Counter(profile.caption_words for profile in kept)
        describe(
            partial,
            revision=files.sha256,
            counts=splits,
            has_facts=look.have_facts,
            source=source,
            licences=Counter(profile.licence for profile in kept),
            caption_words=words,
            streaming={"address": files.address, "left_out": sorted(left_out)},
        )
    return summarize(splits, report) | {"num_left_out": float(len(left_out))}


def assign(files: IndexFiles, recipe: Recipe) -> Assignment:
    """Say from the index alone where each sample goes, before a picture is read.

    Raises:
        DataError: If a split is unknown or empty, too many samples would have to be copied, or
            too few are left for early stopping.
    """
    keys: list[str] = files.index.samples["key"].to_pylist()
    named: list[str | None] = files.index.samples["split"].to_pylist()
    unknown = Counter(name for name in named if name is not None and name not in SPLITS)
    if unknown:
        raise DataError(
            f"{files.address} has splits {dict(unknown)}: name them {', '.join(SPLITS)}, or "
            "none, in captions.jsonl, and run `uae shard` again"
        )
    pairs = list(zip(keys, named, strict=True))
    held_out = held_out_ids([key for key, name in pairs if name is None], recipe)
    split = [name or ("heldout" if key in held_out else "train") for key, name in pairs]
    counts = Counter(split)
    _refuse_empty(counts, files.address)
    _refuse_too_many(counts, files.address)
    trained = [key for key, name in zip(keys, split, strict=True) if name == "train"]
    count = count_set_aside(len(trained), recipe.num_set_aside)
    aside = set(heapq.nsmallest(count, trained, lambda k: derive_seed(recipe.seed, SET_ASIDE, k)))
    split = [SET_ASIDE if key in aside else name for key, name in zip(keys, split, strict=True)]
    return Assignment(split, dict(Counter(split)))


@dataclass
class _Look:
    """Reads every shard once, several at a time, and copies what is to be kept."""

    files: IndexFiles
    assignment: Assignment
    recipe: Recipe
    place: Place
    folder: Path
    have_facts: bool = True

    @cached_property
    def _starts(self) -> list[int]:
        shards = self.files.index.shards
        return [0, *np.cumsum([shard.num_samples for shard in shards]).tolist()]

    def bears(self, fault: Fault) -> bool:
        """Say whether the recipe bears a fault: its sample is left out."""
        streaming = self.recipe.data.streaming
        return streaming is not None and streaming.on_broken == "replace" and fault.rule == DECODES

    def report(self, source: str) -> DataReport:
        """Look at all shards.

        Raises:
            DataError: If a shard is missing, or not what the index says.
            StoreError: If the bucket cannot be read.
        """
        streaming = self.recipe.data.streaming
        assert streaming is not None
        pool = ThreadPoolExecutor(streaming.num_workers, thread_name_prefix="validate")
        try:
            parts = list(pool.map(self._part, range(len(self.files.index.shards))))
        finally:
            pool.shutdown(cancel_futures=True)
        profiles = [profile for part in parts for profile in part.profiles]
        faults = [fault for part in parts for fault in part.faults]
        self.have_facts = all(part.have_facts for part in parts)
        benchmark = [sample for part in parts for sample in part.benchmark]
        checks = check_samples(benchmark, profiles, self.recipe)
        shown = [one for part in parts for one in part.thumbnails]
        return DataReport(source, profiles, faults, checks, shown)

    def _part(self, number: int) -> _Part:
        shard, start = self.files.index.shards[number], self._starts[number]
        stride = max(1, len(self.files.index) // NUM_THUMBNAILS)
        copied: dict[str, list[Sample]] = {}
        profiles: list[SampleProfile] = []
        shown: list[tuple[Sample, str]] = []
        with self._local(shard) as path:
            samples, faults = read_shards([path])
            self._require_as_indexed(shard, start, samples, faults)
            for place, (profile, image) in enumerate(profile_samples(samples, self.recipe.data)):
                profiles.append(profile)
                if image is not None and (start + place) % stride == 0:
                    shown.append((replace(samples[place], image=b""), thumbnail(image)))
                split = self.assignment.split[start + place]
                if split != "train" and not profile.image_fault:
                    name = "train" if split == SET_ASIDE else split
                    copied.setdefault(split, []).append(replace(samples[place], split=name))
            for split, part in copied.items():
                write_shard(self.folder / ".copied" / f"{split}-{number:06d}.tar", part)
        benchmark = [replace(sample, image=b"") for sample in copied.get("benchmark", [])]
        have_facts = all(sample.facts is not None for sample in samples)
        return _Part(profiles, faults, shown, benchmark, have_facts)

    @contextmanager
    def _local(self, shard: Shard) -> Iterator[Path]:
        """Yield a shard as a checked local file; what came from a bucket is removed afterwards."""
        if isinstance(self.place, FolderPlace):
            ShardFiles(self.place, None, max_open=1).get(shard)  # checks it
            yield self.place.path / shard.name
            return
        path = self.folder / f".{shard.name}"
        try:
            self.place.fetch(shard.name, path)
            if file_sha256(path) != shard.sha256:
                raise DataError(
                    f"{self.place.address}/{shard.name} is not what its index says: it was "
                    "changed or damaged; run `uae shard` again"
                )
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _require_as_indexed(
        self, shard: Shard, start: int, samples: Sequence[Sample], faults: Sequence[Fault]
    ) -> None:
        keys = [self.files.index.key(start + place) for place in range(shard.num_samples)]
        if faults or [sample.image_id for sample in samples] != keys:
            found = f": {faults[0].where}: {faults[0].rule}" if faults else ""
            raise DataError(
                f"{self.place.address}/{shard.name} does not hold the samples that its index "
                f"names{found}; run `uae shard` again"
            )


def _trained(files: IndexFiles, assignment: Assignment, left_out: set[str]) -> Integers:
    """Return the numbers of the samples that updates see."""
    keys = files.index.samples["key"].to_pylist()
    named = enumerate(zip(keys, assignment.split, strict=True))
    numbers = [n for n, (key, name) in named if name == "train" and key not in left_out]
    return np.array(numbers, dtype=np.int64)


def _copy(folder: Path, assignment: Assignment) -> dict[str, int]:
    """Put the shards' kept samples together, split by split; return how many there are."""
    counts = {"train": assignment.counts.get("train", 0)}
    parts = folder / ".copied"
    for name in assignment.counts:
        paths = sorted(parts.glob(f"{name}-*.tar"))
        samples, _ = read_shards(paths)
        if samples:
            write_shards(folder / name, name, samples)
        for path in paths:
            path.unlink()
        counts[name] = counts["train"] if name == "train" else len(samples)
    if parts.is_dir():
        parts.rmdir()
    return counts


def _refuse_empty(counts: Counter[str] | dict[str, int], source: str) -> None:
    for name in ("train", "heldout"):
        if not counts.get(name):
            raise DataError(
                f"{source}: no sample is left for {name} ({dict(counts)}): give at least 2 samples "
                f"without a split, or name some {name!r}"
            )


def _refuse_too_many(counts: Counter[str], source: str) -> None:
    copied = counts["heldout"] + counts["benchmark"]
    if copied > MAX_COPIED:
        share = MAX_COPIED / counts.total()
        raise DataError(
            f"{source}: {copied} pairs are held out or of benchmarks, and with data.streaming "
            f"{MAX_COPIED} at most are copied beside the shards: name fewer, or make "
            f"data.heldout_fraction smaller ({share:.2g} or less)"
        )
