"""WebDataset shards: tar files in which `<image_id>.png` and `<image_id>.json` are neighbours.

Written with `tarfile` rather than the webdataset package: that one imports torch, and its tar
members carry the time of writing, so that equal data would give unequal files.
"""

import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from uae.data.images import image_format
from uae.data.sample import (
    BadRow,
    Fault,
    FileSlice,
    Sample,
    is_safe_relative,
    make_sample,
    parse_json,
)
from uae.errors import DataError

EXTENSIONS = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp"}
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}
MAX_SHARD_BYTES = 256 * 2**20
MAX_JSON_BYTES = 2**20


def write_shard(path: Path, samples: Iterable[Sample]) -> int:
    """Write samples to one tar file; equal samples give equal bytes.

    Returns:
        The number of samples written.

    Raises:
        DataError: If an image is not PNG, JPEG or WebP.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    num_samples = 0
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for sample in samples:
            _add_sample(tar, sample)
            num_samples += 1
    return num_samples


def write_shards(
    folder: Path, name: str, samples: Iterable[Sample], *, max_bytes: int = MAX_SHARD_BYTES
) -> list[Path]:
    """Write `folder/<name>-000000.tar` and on, a new file after `max_bytes` of images."""
    paths = []
    for number, part in enumerate(_parts(samples, max_bytes)):
        paths.append(folder / f"{name}-{number:06d}.tar")
        write_shard(paths[-1], part)
    return paths


def read_shards(paths: Iterable[Path]) -> tuple[list[Sample], list[Fault]]:
    """List the samples of tar files in order. Nothing is extracted, and images are not opened.

    Returns:
        The samples, and what is wrong with the other members.
    """
    samples: list[Sample] = []
    faults: list[Fault] = []
    for path in paths:
        try:
            pairs = _pair_members(path, faults)
        except (tarfile.TarError, EOFError, OSError) as error:
            faults.append(Fault(path.name, "is a complete, uncompressed tar file", str(error)))
            continue
        for key, members in pairs.items():
            try:
                samples.append(_read_pair(path, key, members))
            except BadRow as error:
                faults.append(error.fault)
    return samples, faults


def _add_sample(tar: tarfile.TarFile, sample: Sample) -> None:
    image = sample.read_bytes()
    found = image_format(image)
    if found not in EXTENSIONS:
        raise DataError(f"{sample.image_id}: not a PNG, JPEG or WebP image")
    # Compact: tar rounds up to 512 bytes, about what a row takes.
    row = json.dumps(sample.row(), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    for extension, data in ((EXTENSIONS[found], image), ("json", row.encode())):
        member = tarfile.TarInfo(f"{sample.image_id}.{extension}")
        member.size, member.mode = len(data), 0o644
        tar.addfile(member, io.BytesIO(data))


def _parts(samples: Iterable[Sample], max_bytes: int) -> Iterator[list[Sample]]:
    part: list[Sample] = []
    num_bytes = 0
    for sample in samples:
        if part and num_bytes + sample.num_bytes > max_bytes:
            yield part
            part, num_bytes = [], 0
        part.append(sample)
        num_bytes += sample.num_bytes
    if part:
        yield part


def _pair_members(path: Path, faults: list[Fault]) -> dict[str, dict[str, FileSlice]]:
    pairs: dict[str, dict[str, FileSlice]] = {}
    file_bytes = path.stat().st_size
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            where = f"{path.name} member {member.name!r:.100}"
            name = PurePosixPath(member.name)
            suffix = name.suffix.lower()
            kind = "image" if suffix in IMAGE_SUFFIXES else suffix
            slots = pairs.get(str(name.with_suffix("")), {})
            if member.isdir():
                continue
            if not is_safe_relative(member.name):
                faults.append(Fault(where, "member name stays inside the archive", "refused"))
            elif not member.isreg() or member.issparse():
                faults.append(Fault(where, "is a regular file", "links and devices are refused"))
            elif kind not in {"image", ".json"}:
                faults.append(Fault(where, "is .png, .jpg, .webp or .json", f"got {suffix!r}"))
            elif kind in slots:
                faults.append(Fault(where, "stands once in its shard", f"a second {kind}"))
            elif member.offset_data + member.size > file_bytes:
                faults.append(Fault(where, "is complete", "the tar file ends inside it"))
            else:
                slots[kind] = FileSlice(path, member.offset_data, member.size)
                pairs[str(name.with_suffix(""))] = slots
    return pairs


def _read_pair(path: Path, key: str, members: dict[str, FileSlice]) -> Sample:
    where = f"{path.name} member {key!r:.100}"
    if len(members) != 2:
        missing = ({"image", ".json"} - set(members)).pop()
        raise BadRow(where, "has an image and a .json", f"no {missing}")
    if members[".json"].num_bytes > MAX_JSON_BYTES:
        raise BadRow(where, f".json is at most {MAX_JSON_BYTES} bytes", "refused")
    sample = make_sample(parse_json(members[".json"].read(), where), where, members["image"])
    if sample.image_id != PurePosixPath(key).name:
        raise BadRow(where, "member name is its image_id", f"image_id is {sample.image_id!r}")
    return sample
