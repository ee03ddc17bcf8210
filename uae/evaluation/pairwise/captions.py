"""The captions of two finished evaluations by Unified-Bench, picture by picture."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from uae.errors import EvaluationError
from uae.evaluation.pictures import read_png
from uae.evaluation.results import Result, Sample, read_result, read_samples
from uae.fingerprints import file_sha256, json_sha256

BENCHMARK = "unified_bench"
_MAX_SHOWN = 5


class Pair(NamedTuple):
    """Two captions of one picture."""

    sample_id: str
    captions: tuple[str, str]  # A's, B's
    missing: str  # which system wrote none, and why; "" where both did
    original: Path  # the picture's file
    place: str  # where it stands in a result folder


class Pairs(NamedTuple):
    """Two evaluations of the same pictures."""

    a: Result
    b: Result
    pairs: list[Pair]

    @property
    def system(self) -> dict[str, str]:
        """What is compared; the captions' hashes, because a server may write others tomorrow."""
        written = ([pair.captions[side] for pair in self.pairs] for side in (0, 1))
        a, b = self.a.system, self.b.system
        a_captions, b_captions = map(json_sha256, written)
        return {
            "name": f"{a['name']} vs {b['name']}",
            "kind": "pair",
            "sha256": json_sha256([a, b, a_captions, b_captions]),
            "a": a["name"],
            "b": b["name"],
            "a_sha256": a.get("sha256", "unknown"),
            "b_sha256": b.get("sha256", "unknown"),
            "a_captions": a_captions,
            "b_captions": b_captions,
        }


def read_pairs(a: Path, b: Path, num_samples: int | None = None) -> Pairs:
    """Read two result folders.

    Args:
        a: Result folder of Unified-Bench of one system.
        b: And of the other.
        num_samples: The first ones; None for all.

    Raises:
        EvaluationError: If one is no finished result of Unified-Bench, or they are not of the same
            pictures, naming the difference.
    """
    results = [read_result(folder) for folder in (a, b)]
    for folder, result in zip((a, b), results, strict=True):
        if result.benchmark != BENCHMARK:
            raise EvaluationError(f"{folder} is a result of {result.benchmark}, not {BENCHMARK}")
    asked = [{"name": r.prompts.name, "sha256": r.prompts.sha256} for r in results]
    if asked[0] != asked[1]:
        raise EvaluationError(f"{a} and {b} are not of the same pictures: {asked[0]}, {asked[1]}")
    samples = [read_samples(folder)[:num_samples] for folder in (a, b)]
    _check_same_ids(a, b, *samples)
    pairs = [_pair(a, b, one, other) for one, other in zip(*samples, strict=True)]
    return Pairs(results[0], results[1], pairs)


def copy_original(pair: Pair, out: Path) -> None:
    """Copy the picture into a result folder, whole or not at all."""
    path = out / pair.place
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    shutil.copyfile(pair.original, partial)
    os.replace(partial, path)


def _check_same_ids(a: Path, b: Path, ours: Sequence[Sample], theirs: Sequence[Sample]) -> None:
    ids = [[sample.sample_id for sample in samples] for samples in (ours, theirs)]
    if ids[0] == ids[1]:
        return
    only = [sorted(set(ids[side]) - set(ids[1 - side])) for side in (0, 1)]
    raise EvaluationError(
        f"{a} and {b} are not of the same pictures: {len(ids[0])} and {len(ids[1])} samples; only "
        f"in the first {only[0][:_MAX_SHOWN]}, only in the second {only[1][:_MAX_SHOWN]}"
        + ("" if any(only) else "; the order differs")
    )


def _pair(a: Path, b: Path, one: Sample, other: Sample) -> Pair:
    missing = [
        f"{side} has no caption: {sample.reason}"
        for side, sample in (("A", one), ("B", other))
        if sample.state == "missing" and not sample.caption
    ]
    path = _original(a, one)
    _check_same_picture(path, _original(b, other), one.sample_id)
    captions = (one.caption, other.caption)
    return Pair(one.sample_id, captions, "; ".join(missing), path, one.images["original"])


def _original(folder: Path, sample: Sample) -> Path:
    place = sample.images.get("original", "")
    path = (folder / place).resolve()
    if not place or not path.is_relative_to(folder.resolve()) or not path.is_file():
        raise EvaluationError(f"{folder}: {sample.sample_id!r} has no original picture {place!r}")
    return path


def _check_same_picture(one: Path, other: Path, sample_id: str) -> None:
    if file_sha256(one) == file_sha256(other):
        return
    pictures = read_png(one), read_png(other)  # another encoder writes other bytes
    if not np.array_equal(*pictures):
        sizes = [f"{picture.shape[1]} x {picture.shape[0]}" for picture in pictures]
        raise EvaluationError(
            f"{sample_id!r} is not the same picture: {one} ({sizes[0]}), {other} ({sizes[1]})"
        )
