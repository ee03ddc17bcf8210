"""Tensors cut into pieces among processes, and put together again among any other number of them.

Of a tensor that is shared out, each process has some rows (of its first dimension). A tensor that
every process holds is written whole, by one of them: each writes about equally many bytes.

Pieces are safetensors; an index in JSON says which file has which rows of what.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.distributed.tensor import DTensor, Shard

from uae.errors import TrainingError

Index = dict[str, dict[str, Any]]  # key -> {"shape": of the whole, "rows": [first, last] or None}


class Pieces(NamedTuple):
    """What one process writes to one file."""

    tensors: dict[str, Tensor]
    entries: Index


def rows_of(length: int, num_parts: int, part: int) -> tuple[int, int]:
    """Return the first row of a part and the one after its last, as FSDP cuts them.

    Example:
        >>> [rows_of(5, 4, part) for part in range(4)]
        [(0, 2), (2, 4), (4, 5), (5, 5)]
    """
    step = -(-length // num_parts)
    return min(part * step, length), min((part + 1) * step, length)


def own_pieces(tensors: Mapping[str, Tensor], rank: int, size: int) -> dict[str, Pieces]:
    """Copy this process's pieces to the CPU.

    Returns `rows` of tensors that are shared out, which only those processes read again that need
    them, and `whole`, the other tensors, which all do.

    Args:
        tensors: Of the same names and shapes in every process.
        rank: This process's.
        size: Number of processes.
    """
    writer = _writers(tensors, size)
    found = {"rows": Pieces({}, {}), "whole": Pieces({}, {})}
    for key, tensor in tensors.items():
        if isinstance(tensor, DTensor):
            first, last = _own_rows(tensor)
            if first == last:
                continue
            pieces, rows, own = found["rows"], [first, last], tensor.to_local()
        elif writer[key] == rank:
            pieces, rows, own = found["whole"], None, tensor
        else:
            continue
        pieces.tensors[key] = own.detach().to("cpu", copy=True).contiguous()
        pieces.entries[key] = {"shape": list(tensor.shape), "rows": rows}
    return {kind: pieces for kind, pieces in found.items() if pieces.tensors}


def joined(
    key: str, like: Tensor | None, files: Mapping[str, Index], fetch: Callable[[str], Path]
) -> Tensor:
    """Put a tensor together, or of one that is shared out, this process's rows.

    Args:
        key: Name of the tensor.
        like: How it is shared out; None or a plain tensor for all of it.
        files: Index of each file.
        fetch: Gives the local path of a file. Only files that are needed are asked for.

    Raises:
        TrainingError: If a file is damaged, or the files do not have all rows.
    """
    held = {name: index[key] for name, index in files.items() if key in index}
    if not held:
        raise TrainingError(f"no file of the checkpoint has {key}: remove the checkpoint")
    shape: list[int] = next(iter(held.values()))["shape"]
    if isinstance(like, DTensor):
        if list(like.shape) != shape:
            raise TrainingError(f"{key} has shape {shape} in the checkpoint, not {like.shape}")
        own = _rows(key, shape, _own_rows(like), held, fetch)
        return DTensor.from_local(
            own.to(like.device),
            like.device_mesh,
            like.placements,
            run_check=False,
            shape=like.shape,
            stride=like.stride(),
        )
    for name, entry in held.items():
        if entry["rows"] is None:
            with _opened(fetch(name)) as file:
                whole: Tensor = file.get_tensor(key)
            return whole
    return _rows(key, shape, (0, shape[0]), held, fetch)


def _rows(
    key: str,
    shape: list[int],
    wanted: tuple[int, int],
    held: Mapping[str, dict[str, Any]],
    fetch: Callable[[str], Path],
) -> Tensor:
    parts = []
    reached = wanted[0]
    in_order = sorted(held.items(), key=lambda item: item[1]["rows"] or [0, shape[0]])
    for name, entry in in_order:
        first, last = entry["rows"] or (0, shape[0])
        if first <= reached < min(last, wanted[1]):
            until = min(last, wanted[1])
            with _opened(fetch(name)) as file:
                parts.append(file.get_slice(key)[reached - first : until - first])
            reached = until
    if reached < wanted[1]:
        raise TrainingError(f"no file of the checkpoint has row {reached} of {key}: remove it")
    return torch.cat(parts) if parts else torch.empty(0, *shape[1:])


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (OSError, SafetensorError) as error:
        raise TrainingError(
            f"cannot read {path} of the checkpoint: {error}; remove the checkpoint"
        ) from error


def _own_rows(tensor: DTensor) -> tuple[int, int]:
    assert tensor.placements == (Shard(0),), tensor.placements
    mesh = tensor.device_mesh
    return rows_of(tensor.shape[0], mesh.size(), mesh.get_local_rank())


def _writers(tensors: Mapping[str, Tensor], size: int) -> dict[str, int]:
    """Share out tensors that all hold, the largest first, to whom has the least to write."""
    loads, writer = [0] * size, {}
    whole = {key: t for key, t in tensors.items() if not isinstance(t, DTensor)}
    for key, tensor in sorted(whole.items(), key=lambda item: (-item[1].nbytes, item[0])):
        writer[key] = loads.index(min(loads))
        loads[writer[key]] += tensor.nbytes
    return writer
