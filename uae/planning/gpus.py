"""GPUs as a plan sees them: memory, rates, and how fast they exchange tensors."""

from __future__ import annotations

from dataclasses import dataclass

GIB = 2**30
_MIB = 2**20
_TERA = 10**12
# CUDA's context, its libraries' workspaces, and what the allocator cannot hand out.
RESERVED_SHARE = 0.08
NETWORK_BYTES_PER_SECOND = 50e9  # between machines, for each GPU: 400 Gbit/s
STORE_BYTES_PER_SECOND = 200e6  # assumed: a checkpoint to its store, all processes together


@dataclass(frozen=True)
class Gpu:
    """One kind of GPU. Rates are the vendor's for dense matrices, without sparsity."""

    name: str
    memory_bytes: int
    bfloat16_flops: float  # per second
    float32_flops: float  # per second, without TF32
    memory_bytes_per_second: float
    link_bytes_per_second: float  # to the other GPUs of its machine, in one direction

    @property
    def tf32_flops(self) -> float:
        """Per second, for float32 numbers around blocks in bfloat16: half, on all of these."""
        return self.bfloat16_flops / 2

    @property
    def usable_bytes(self) -> int:
        """What tensors may take."""
        return int(self.memory_bytes * (1 - RESERVED_SHARE))


# Sources: NVIDIA's data sheets of H100 SXM, H200 SXM, A100 SXM 80 GB, and the Ada architecture's
# white paper (bfloat16 with float32 accumulation); memory as nvidia-smi reports it.
GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu("h100-80gb", 81559 * _MIB, 989 * _TERA, 67 * _TERA, 3.35e12, 450e9),
        Gpu("h200-141gb", 143771 * _MIB, 989 * _TERA, 67 * _TERA, 4.8e12, 450e9),
        Gpu("a100-80gb", 81920 * _MIB, 312 * _TERA, 19.5 * _TERA, 2.039e12, 300e9),
        Gpu("rtx-4090", 24564 * _MIB, 165.2 * _TERA, 82.6 * _TERA, 1.008e12, 32e9),
    )
}
DEFAULT_GPU = "h100-80gb"


def custom_gpu(memory_gib: float, tflops: float, bandwidth_tb: float) -> Gpu:
    """Return a GPU by its numbers; `tflops` is the rate of the type that is computed in.

    Between GPUs, in a machine or between machines, the network's rate is taken.
    """
    rate = tflops * _TERA
    return Gpu(
        "custom", int(memory_gib * GIB), rate, rate, bandwidth_tb * 1e12, NETWORK_BYTES_PER_SECOND
    )
