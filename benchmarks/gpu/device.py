"""What this device is, and what it reaches at best: its rate of bfloat16 products, its memory's.

A process of its own measures it, which leaves the memory to the stages:

    python -m benchmarks.gpu.device RESULT

RESULT is a JSON file.
"""

import json
import platform
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from benchmarks.gpu.timeline import seconds_of
from uae.planning.gpus import GPUS, Gpu, custom_gpu
from uae.training.numerics import training_device

_GIB = 2**30
_SIDES = {"cuda": (4096, 8192, 16384), "cpu": (256, 512)}  # of square matrices
_COPIED = {"cuda": 4 * _GIB, "cpu": _GIB // 16}  # bytes
_REPEATS = {"cuda": 20, "cpu": 2}
_ROUNDS = 3  # the fastest counts
_SAME_MEMORY = 0.05  # of two GPUs of one kind; an H100 NVL is not an H100 SXM


@dataclass(frozen=True)
class Device:
    """A device, and its measured rates."""

    name: str
    is_gpu: bool
    memory_bytes: int
    driver: str | None
    cuda: str | None
    flops: float  # per second, bfloat16, the largest of several matrix products
    bytes_per_second: float  # read and written by a copy

    def as_planned(self) -> Gpu:
        """Return the kind of GPU for which `uae plan` has numbers, or these numbers as one."""
        for gpu in GPUS.values():
            number = next(part for part in gpu.name.split("-") if any(map(str.isdigit, part)))
            is_alike = abs(self.memory_bytes / gpu.memory_bytes - 1) <= _SAME_MEMORY
            names = number.upper() in self.name and "PCIe" not in self.name
            if self.is_gpu and is_alike and names:
                return gpu
        tera = 1e12
        memory = self.memory_bytes / _GIB
        return custom_gpu(memory, self.flops / tera, self.bytes_per_second / tera)


def measure() -> Device:
    """Measure the device that training takes: the GPU where there is one, else the CPU."""
    device = training_device()
    rates = (matrix_rate(device), copy_rate(device))
    if device.type == "cpu":
        return Device(platform.machine(), False, _main_memory(), None, None, *rates)
    properties = torch.cuda.get_device_properties(device)
    name, memory = properties.name, properties.total_memory
    return Device(name, True, memory, _driver(), torch.version.cuda, *rates)


def matrix_rate(device: torch.device) -> float:
    """Return the best operations per second of bfloat16 products of random square matrices."""
    rounds = [side for side in _SIDES[device.type] for _ in range(_ROUNDS)]
    return max(2 * side**3 / _product_seconds(device, side) for side in rounds)


def copy_rate(device: torch.device) -> float:
    """Return the best bytes per second, read and written, of copying a large tensor."""
    size = _COPIED[device.type]
    source = torch.zeros(size // 4, device=device)
    target = torch.empty_like(source)
    repeats = _REPEATS[device.type]
    seconds = [seconds_of(device, lambda: target.copy_(source), repeats) for _ in range(_ROUNDS)]
    return 2 * size / min(seconds)


def _product_seconds(device: torch.device, side: int) -> float:
    generator = torch.Generator(device).manual_seed(0)
    a, b = torch.randn(2, side, side, generator=generator, device=device).to(torch.bfloat16)
    out = torch.empty_like(a)
    return seconds_of(device, lambda: torch.mm(a, b, out=out), _REPEATS[device.type])


def _driver() -> str | None:
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    command = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    return found.stdout.splitlines()[0].strip()


def _main_memory() -> int:
    import psutil

    return int(psutil.virtual_memory().total)


def main() -> None:
    (result,) = map(Path, sys.argv[1:])
    result.write_text(json.dumps(asdict(measure())), encoding="utf-8")


if __name__ == "__main__":
    main()
