"""What weight files hold, by their headers: names, types and shapes. Needs no torch.

A safetensors file is eight bytes (the header's length, little-endian), the header as JSON, and the
tensors' bytes, which the header places. A file that is cut off is known without reading them.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from uae.errors import ModelError

INDEX = ".index.json"
# As they are looked for: a folder of open_clip may hold transformers' format beside its own.
WEIGHT_FILES = (
    "open_clip_model.safetensors",
    "connector.safetensors",
    "diffusion_pytorch_model.safetensors",
    "model.safetensors",
)
_LENGTH = struct.Struct("<Q")
_MAX_HEADER = 100_000_000  # as the safetensors library allows
_NUM_NAMED = 5  # of tensors in an error


class TensorFacts(NamedTuple):
    """A tensor without its numbers."""

    dtype: str  # as safetensors writes it: F32, BF16
    shape: tuple[int, ...]

    def __str__(self) -> str:
        """As manifests have it: `BF16 [2048, 8192]`."""
        return f"{self.dtype} {list(self.shape)}"


class Header(NamedTuple):
    """A file's header."""

    size: int  # bytes before the tensors
    values: dict[str, Any]  # name -> dtype, shape, data_offsets; and __metadata__

    @property
    def tensors(self) -> dict[str, TensorFacts]:
        """Return the tensors by name."""
        found = {name: value for name, value in self.values.items() if name != "__metadata__"}
        return {
            name: TensorFacts(value["dtype"], tuple(value["shape"]))
            for name, value in found.items()
        }


def read_header(path: Path) -> Header:
    """Read a safetensors file's header and compare it with the file's size.

    Raises:
        ModelError: If there is no such file, it is no safetensors file, or it is cut off.
    """
    try:
        with path.open("rb") as file:
            start = file.read(_LENGTH.size)
            length = _LENGTH.unpack(start)[0] if len(start) == _LENGTH.size else -1
            text = file.read(length) if 0 < length <= _MAX_HEADER else b""
        size = path.stat().st_size
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error
    if not 0 < length <= _MAX_HEADER:
        raise ModelError(f"{path} is no safetensors file ({size} bytes): fetch it again")
    if len(text) < length:
        raise _truncated(path, _LENGTH.size + length, size)
    try:
        values = json.loads(text)
        ends = [value["data_offsets"][1] for key, value in values.items() if key != "__metadata__"]
        header = Header(_LENGTH.size + length, values)
        _ = header.tensors
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ModelError(f"{path} has no safetensors header: fetch it again") from error
    whole = header.size + max(ends, default=0)
    if size < whole:
        raise _truncated(path, whole, size)
    if size > whole:
        raise ModelError(f"{path} has {size} bytes, {size - whole} more than its header says")
    return header


def read_folder(folder: Path) -> dict[str, TensorFacts]:
    """Read the headers of a model's folder, one file or several with an index.

    Raises:
        ModelError: If there are no weights, a file is missing or cut off, or files and index do
            not name the same tensors.
    """
    for name in WEIGHT_FILES:
        index = folder / f"{name}{INDEX}"
        if index.is_file():
            return _read_indexed(folder, index)
        if (folder / name).is_file():
            return read_header(folder / name).tensors
    names = ", ".join(WEIGHT_FILES)
    raise ModelError(f"{folder} has no weights: none of {names}, and no index of theirs")


def shards(index: Path) -> dict[str, str]:
    """Return what an index says: tensor -> file.

    Raises:
        ModelError: If it is no index.
    """
    try:
        found: dict[str, str] = json.loads(index.read_text("utf-8"))["weight_map"]
        if any(Path(name).name != name for name in found.values()):
            raise ValueError("a file outside the folder")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{index} is no index of weights: {error}") from error
    return found


def differences(
    expected: Mapping[str, tuple[int, ...] | str], found: Mapping[str, TensorFacts]
) -> str:
    """Say which tensors are missing, too many, or of another shape; "" if none is.

    Args:
        expected: Shapes by name; or facts as text, where the type matters too.
        found: What is there.
    """
    others = [
        f"{name} {facts} instead of {_shown(expected[name])}"
        for name, facts in sorted(found.items())
        if name in expected and not _is_same(expected[name], facts)
    ]
    kinds = {
        "missing": sorted(expected.keys() - found.keys()),
        "unexpected": sorted(found.keys() - expected.keys()),
        "of another shape or type": others,
    }
    return "; ".join(f"{kind}: {named(names)}" for kind, names in kinds.items() if names)


def named(names: Collection[str]) -> str:
    """Return the first few names, and how many more there are."""
    shown = ", ".join([*names][:_NUM_NAMED])
    return shown if len(names) <= _NUM_NAMED else f"{shown} and {len(names) - _NUM_NAMED} more"


def _read_indexed(folder: Path, index: Path) -> dict[str, TensorFacts]:
    places = shards(index)
    missing = sorted({name for name in places.values() if not (folder / name).is_file()})
    if missing:
        raise ModelError(f"{folder} lacks {named(missing)}, which {index.name} names")
    found: dict[str, TensorFacts] = {}
    for name in sorted(set(places.values())):
        tensors = read_header(folder / name).tensors
        listed = {tensor for tensor, file in places.items() if file == name}
        absent, extra = sorted(listed - tensors.keys()), sorted(tensors.keys() - listed)
        if absent or extra:
            kinds = {"missing": absent, "unexpected": extra}
            said = "; ".join(f"{kind}: {named(which)}" for kind, which in kinds.items() if which)
            raise ModelError(f"{folder / name} is not what {index.name} says; {said}")
        found |= tensors
    return found


def _is_same(expected: tuple[int, ...] | str, facts: TensorFacts) -> bool:
    return str(facts) == expected if isinstance(expected, str) else facts.shape == expected


def _shown(expected: tuple[int, ...] | str) -> str:
    return expected if isinstance(expected, str) else str(list(expected))


def _truncated(path: Path, whole: int, size: int) -> ModelError:
    return ModelError(f"{path} is cut off: it has {size} of {whole} bytes; fetch it again")
