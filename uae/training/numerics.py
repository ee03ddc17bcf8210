"""Where numbers are computed, and that they come out the same each time."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch.utils import deterministic


# cuBLAS adds up in the same order every time only in workspaces of a fixed size, which it reads from
# the environment when it is first used.
_WORKSPACE = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def training_device() -> torch.device:
    """Return the GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def exact_numerics(num_threads: int, *, is_rounded: bool = False) -> Iterator[torch.device]:
    """Use so many threads and deterministic algorithms, and yield the device.

    On a CPU an operation without a deterministic algorithm is an error; on a GPU, where a few
    resizing gradients have none, it is a warning.

    Args:
        num_threads: Of the process, on the CPU.
        is_rounded: Whether blocks compute in bfloat16. Then products of float32 matrices, which
            get what blocks give with its 8 bits, are made in TF32 on GPUs: inputs with 11 bits,
            sums in float32. In full float32 adapters and all else around the blocks of published
            models, 9 % of the operations, would take longer than the blocks.
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
        with _products_in_tf32() if is_rounded else nullcontext():
            yield device
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(before, warn_only=warned)
        memory.fill_uninitialized_memory = filled


@contextmanager
def _products_in_tf32() -> Iterator[None]:
    products: Any = torch.backends.cuda.matmul
    before, products.fp32_precision = products.fp32_precision, "tf32"
    try:
        yield
    finally:
        products.fp32_precision = before
