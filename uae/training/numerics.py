"""Where numbers are computed, and that they come out the same each time."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils import deterministic

# cuBLAS adds up in the same order every time only in workspaces of a fixed size. It reads that from
# the environment when it is first used.
_WORKSPACE = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def training_device() -> torch.device:
    """Return the GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def exact_numerics(num_threads: int, *, is_rounded: bool = False) -> Iterator[torch.device]:
    """Use so many threads and deterministic algorithms, and yield the device.

    On a CPU an operation without a deterministic algorithm is an error. On a GPU, where gradients
    of resizing have none, it is a warning; attention's gradient is then computed by its fast
    algorithm too, so that two runs on GPUs may differ in the last bits.

    Args:
        num_threads: Of the process, on the CPU.
        is_rounded: Whether blocks compute in bfloat16. Then products and convolutions of float32,
            which get what blocks give with its 8 bits, are made in TF32 on GPUs: inputs with 11
            bits, sums in float32. In full float32 adapters and all else around the blocks of
            published models, 9 % of the operations, would take longer than the blocks. Otherwise
            they are full float32, convolutions too.
    """
    threads = torch.get_num_threads()
    before = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = deterministic
    filled = memory.fill_uninitialized_memory
    device = training_device()
    if device.type == "cuda":
        os.environ[_WORKSPACE[0]] = _WORKSPACE[1]  # whatever it was: it would change the numbers
    torch.set_num_threads(num_threads)
    torch.use_deterministic_algorithms(True, warn_only=device.type == "cuda")
    memory.fill_uninitialized_memory = False
    try:
        with _float32_products("tf32" if is_rounded else "ieee"):
            yield device
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(before, warn_only=warned)
        memory.fill_uninitialized_memory = filled


@contextmanager
def _float32_products(precision: str) -> Iterator[None]:
    """Make products of float32 matrices and convolutions so on GPUs.

    Meanwhile torch refuses to answer its older `allow_tf32` and `get_float32_matmul_precision`.
    """
    backends: Any = torch.backends
    kinds = [backends.cuda.matmul, backends.cudnn.conv]
    before = [kind.fp32_precision for kind in kinds]
    for kind in kinds:
        kind.fp32_precision = precision
    try:
        yield
    finally:
        for kind, found in zip(kinds, before, strict=True):
            kind.fp32_precision = found
