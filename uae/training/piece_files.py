"""Writing one process's pieces of a checkpoint: cut into files, several of them on their way."""

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from safetensors.torch import save_file

from uae.errors import TrainingError
from uae.fingerprints import file_sha256
from uae.training.areas import Area
from uae.training.pieces import Pieces

FILE_BYTES = 2**27  # a file ends with the tensor that reaches it
NUM_AT_ONCE = 2  # one is written and hashed while another is on its way
Result = TypeVar("Result")


def begin(work: Callable[[], Result]) -> Future[Result]:
    """Do something in a thread for which no process waits when it ends."""
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # raised where the result is asked for
            future.set_exception(error)

    threading.Thread(target=run, name="checkpoint", daemon=True).start()
    return future


def write_pieces(
    found: Mapping[str, Pieces], rank: int, area: Area, folder: str, own: Path
) -> dict[str, Any]:
    """Write pieces as files of a checkpoint; return which files there are and what they hold.

    Args:
        found: What `own_pieces` returned.
        rank: This process's.
        area: Where the checkpoint goes.
        folder: Name of the checkpoint.
        own: Local folder of this process; for some files of `FILE_BYTES` at a time.

    Raises:
        TrainingError: If the local disk, or the area's folder, does not take them.
        StoreError: If the store does not.
    """
    named = {
        f"{kind}-{rank:05d}-{number:03d}.safetensors": part
        for kind, pieces in found.items()
        for number, part in enumerate(_cut(pieces))
    }
    receipt: dict[str, Any] = {"files": {}, "index": {n: p.entries for n, p in named.items()}}
    lock, waiting = threading.Lock(), iter(list(named))

    def write_some() -> None:
        while True:
            with lock:
                name = next(waiting, None)
            if name is None:
                return
            try:
                receipt["files"][name] = _put(named.pop(name), name, area, folder, own)
            except BaseException:
                with lock:
                    list(waiting)  # nobody begins another one
                raise

    workers = [begin(write_some) for _ in range(min(NUM_AT_ONCE, len(named)))]
    for worker in workers:
        worker.result()
    return receipt


def _put(pieces: Pieces, name: str, area: Area, folder: str, own: Path) -> dict[str, Any]:
    path = own / name
    try:
        own.mkdir(parents=True, exist_ok=True)
        save_file(pieces.tensors, path)
        described = {"sha256": file_sha256(path), "bytes": path.stat().st_size}
        area.put_file(f"{folder}/{name}", path)
    except (OSError, SafetensorError) as error:
        raise TrainingError(
            f"cannot write {folder}/{name} by way of {own}: {error}; the checkpoint before it is "
            "whole: free some space and resume"
        ) from error
    return described


def _cut(pieces: Pieces) -> Iterator[Pieces]:
    """Cut pieces into what one file holds; a tensor is never cut."""
    part, num_bytes = Pieces({}, {}), 0
    for key, tensor in pieces.tensors.items():
        part.tensors[key], part.entries[key] = tensor, pieces.entries[key]
        num_bytes += tensor.nbytes
        if num_bytes >= FILE_BYTES:
            yield part
            part, num_bytes = Pieces({}, {}), 0
    if part.tensors:
        yield part
