"""One loader for every data set on disk: a folder with captions.jsonl, or WebDataset shards."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, overload

import numpy as np
from PIL import Image

from uae.data.folder import CAPTIONS, read_folder
from uae.data.images import decode_rgb, square_pixels
from uae.data.sample import Fault, Sample
from uae.data.shards import read_shards
from uae.data.streaming.names import INDEX, RECORDS, SAMPLES
from uae.errors import DataError


class Samples(Protocol):
    """Samples that can be asked for by a number."""

    def __getitem__(self, index: int, /) -> Sample:
        """Return a sample."""

    def pixels(
        self, indices: Iterable[int], image_size: int
    ) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return pictures (B, 3, image_size, image_size), float32 in [0, 1]."""


class Dataset(Sequence[Sample]):
    """Samples in a fixed order; images stay encoded until asked for."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = list(samples)

    def __len__(self) -> int:
        return len(self._samples)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> "Dataset": ...
    def __getitem__(self, index: int | slice) -> "Sample | Dataset":
        if isinstance(index, slice):
            return Dataset(self._samples[index])
        return self._samples[index]

    @property
    def captions(self) -> list[str]:
        """All captions, in order."""
        return [sample.caption for sample in self._samples]

    @property
    def image_ids(self) -> list[str]:
        """All ids, in order."""
        return [sample.image_id for sample in self._samples]

    @cached_property
    def revision(self) -> str:
        """sha256 over every row and image, in order: equal data has an equal revision."""
        digest = hashlib.sha256()
        for sample in self._samples:
            row = json.dumps(sample.row(), ensure_ascii=False, sort_keys=True)
            image = hashlib.sha256(sample.read_bytes()).hexdigest()
            digest.update(f"{row}\n{image}\n".encode())
        return digest.hexdigest()

    def image(self, index: int) -> Image.Image:
        """Decode one image to upright 8-bit RGB at its own size.

        Raises:
            DataError: Naming the image_id, if it cannot be decoded.
        """
        sample = self._samples[index]
        try:
            return decode_rgb(sample.read_bytes())
        except DataError as error:
            raise DataError(f"{sample.image_id}: {error}") from error

    def pixels(
        self, indices: Iterable[int], image_size: int
    ) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Decode, centre-crop and resize.

        Returns:
            (B, 3, image_size, image_size) float32 in [0, 1].
        """
        return np.stack([square_pixels(self.image(index), image_size) for index in indices])


def load_dataset(path: Path) -> Dataset:
    """Read a folder with captions.jsonl, a folder of *.tar shards, or one shard.

    Raises:
        DataError: If there is no data, or naming every bad row and every id that stands twice.
    """
    samples, faults = read_samples(path)
    counts = Counter(sample.image_id for sample in samples)
    faults += [
        Fault(image_id, "image_id is unique", f"stands {count} times")
        for image_id, count in counts.items()
        if count > 1
    ]
    if faults:
        raise DataError(explain_faults(str(path), faults))
    if not samples:
        raise DataError(f"{path} has no samples: its captions or shards are empty")
    return Dataset(samples)


def read_samples(path: Path) -> tuple[list[Sample], list[Fault]]:
    """Read the rows of a data set, and what is wrong with those that cannot be read.

    Raises:
        DataError: If the path is missing, empty, or of no known format.
    """
    if path.is_file() and path.suffix == ".tar":
        return read_shards([path])
    if not path.is_dir():
        raise DataError(f"no data at {path}: give a folder with {CAPTIONS} or with .tar shards")
    shards = sorted(path.glob("*.tar"))
    _refuse_unfinished(path, shards)
    has_captions = (path / CAPTIONS).is_file()
    if has_captions and shards:
        raise DataError(f"{path} has both {CAPTIONS} and {shards[0].name}: keep one of them")
    if not has_captions and not shards:
        what = "is empty" if not any(path.iterdir()) else f"has no {CAPTIONS} and no .tar shard"
        raise DataError(f"{path} {what}: give a folder with {CAPTIONS} or with .tar shards")
    return read_folder(path) if has_captions else read_shards(shards)


def _refuse_unfinished(path: Path, shards: Sequence[Path]) -> None:
    """Refuse what `uae shard` has left half done, and what does not belong to its index."""
    index = path / INDEX
    if not index.is_file():
        if (path / RECORDS).exists():
            raise DataError(
                f"{path} holds {len(shards)} shards of a `uae shard` that has not ended: run it "
                "again, it goes on where it stopped"
            )
        return
    if (path / SAMPLES).is_file():
        known = {shard["name"] for shard in json.loads(index.read_bytes())["shards"]}
        found = {shard.name for shard in shards}
        if known != found:
            strange = ", ".join(sorted(known ^ found)[:3])
            raise DataError(
                f"{path}: its shards are not those of its {INDEX} ({strange}): remove what `uae "
                "shard` did not write, or run it again"
            )


def explain_faults(source: str, faults: Sequence[Fault]) -> str:
    """Return one message that names every fault."""
    lines = [f"  {fault.where}: {fault.rule} ({fault.detail})" for fault in faults]
    return f"{source} has {len(faults)} fault{'s' * (len(faults) > 1)}:\n" + "\n".join(lines)
