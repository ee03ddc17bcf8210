"""The pictures that Unified-Bench starts from: a data set's held-out split, a folder or a bucket.

They are taken as they are given, upright and at their own size: every scorer resizes and crops by
its own default preprocessing, and a system does so for its captions.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from uae.data.dataset import load_dataset
from uae.data.facts import SceneFacts
from uae.data.images import decode_rgb, open_header
from uae.errors import DataError, EvaluationError
from uae.evaluation.context import Context
from uae.evaluation.pictures import Pixels
from uae.evaluation.results import PromptSet
from uae.fingerprints import json_sha256
from uae.recipe import UnifiedBenchRecipe
from uae.store.s3 import Store, parse_uri

HELDOUT = "heldout"
PICTURES = "pictures"  # name of any set that is no data set's: a folder may be called anything
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


class Original(NamedTuple):
    """One picture; its bytes are read when they are needed."""

    image_id: str
    sha256: str  # of the encoded file
    facts: SceneFacts | None  # what is known to be in it
    read: Callable[[], bytes]

    def picture(self) -> Pixels:
        """Return it decoded: 8-bit RGB, upright, at its own size.

        Raises:
            EvaluationError: If it cannot be decoded, or has changed since it was listed.
        """
        data = self.read()
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise EvaluationError(
                f"picture {self.image_id!r} has changed while it was being evaluated: begin again "
                "in another folder"
            )
        try:
            return np.array(decode_rgb(data))
        except DataError as error:
            raise EvaluationError(f"picture {self.image_id!r}: {error}") from error


def load_originals(
    settings: UnifiedBenchRecipe, context: Context
) -> tuple[list[Original], PromptSet]:
    """List the first `num_samples` pictures, or all where there are fewer, and name their set.

    Raises:
        EvaluationError: If there is none, one is no picture, or two have one id.
        DataError: If the data set is broken.
        StoreError: If the store refuses.
    """
    if settings.pictures == HELDOUT:
        name, source = HELDOUT, HELDOUT
        found = _heldout(context.data, settings.num_samples)
    elif settings.pictures.startswith("s3://"):
        name, source = PICTURES, settings.pictures
        found = _bucket(settings.pictures, context.endpoint, settings.num_samples)
    else:
        folder = Path(settings.pictures)
        name, source = PICTURES, folder.resolve().name  # not where it is on this machine
        found = _folder(folder, settings.num_samples)
    content = json_sha256([[original.image_id, original.sha256] for original in found])
    return found, PromptSet(name=name, source=source, sha256=content, count=len(found))


def _heldout(data: Path, count: int) -> list[Original]:
    """Read the folder of a validated data set, or the rows of that split of any other."""
    own = data / HELDOUT
    dataset = load_dataset(own if own.is_dir() else data)
    samples = [sample for sample in dataset if own.is_dir() or sample.split == HELDOUT]
    if not samples:
        raise EvaluationError(
            f"{data} has no held-out picture: give a validated data set, or one whose rows have "
            f'"split": "{HELDOUT}"'
        )
    return [_original(s.image_id, s.read_bytes, s.facts) for s in samples[:count]]


def _folder(folder: Path, count: int) -> list[Original]:
    if not folder.is_dir():
        raise EvaluationError(f"unified_bench.pictures: no folder {folder}")
    names = (path.name for path in folder.iterdir() if path.is_file())
    chosen = _pictures(names, str(folder))[:count]
    return [_original(PurePosixPath(n).stem, (folder / n).read_bytes) for n in chosen]


def _bucket(uri: str, endpoint: str | None, count: int) -> list[Original]:
    if endpoint is None:
        raise EvaluationError(f"{uri}: give the store's endpoint")
    bucket, prefix = parse_uri(uri)
    store = Store.connect(endpoint, bucket)
    start = f"{prefix}/" if prefix else ""
    names = (key.removeprefix(start) for key in store.list(start))
    chosen = _pictures((name for name in names if "/" not in name), uri)[:count]
    reads = ((n, partial(store.get_bytes, f"{start}{n}")) for n in chosen)
    return [_original(PurePosixPath(n).stem, read) for n, read in reads]


def _pictures(names: Iterable[str], where: str) -> list[str]:
    """Return the names of pictures, sorted; two of one stem would be one sample."""
    chosen = sorted(
        name for name in names if name.lower().endswith(SUFFIXES) and not name.startswith(".")
    )
    by_id = defaultdict(list)
    for name in chosen:
        by_id[PurePosixPath(name).stem].append(name)
    twice = [" and ".join(same) for same in by_id.values() if len(same) > 1]
    if twice:
        raise EvaluationError(f"{where}: pictures of one name: {', '.join(twice)}; rename them")
    if not chosen:
        raise EvaluationError(f"{where} has no picture: give one with {', '.join(SUFFIXES)} files")
    return chosen


def _original(
    image_id: str, read: Callable[[], bytes], facts: SceneFacts | None = None
) -> Original:
    data = read()
    try:
        open_header(data)
    except DataError as error:
        raise EvaluationError(f"picture {image_id!r}: {error}") from error
    return Original(image_id, hashlib.sha256(data).hexdigest(), facts, read)
