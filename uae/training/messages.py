"""Bytes and tensors between the processes of a world, without pickle.

Every meeting begins with a message of fixed size on the CPU. A process that has failed sends one
that says so, whatever the others have come for.
"""

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple, Self

import torch
from torch import Tensor, distributed

from uae.errors import TrainingError

_HEAD = struct.Struct("<?q")  # failed, length of the payload
_SIZE = 2048  # bytes of a message; what does not fit goes in a second one


_progress = 0


def note_progress() -> None:
    """Say that the main thread gets on, for whoever watches that it does not hang."""
    global _progress
    _progress += 1


def progress() -> int:
    """Return a number that grows while the main thread gets on."""
    return _progress


class OtherProcessFailed(TrainingError):
    """Another process of the world has failed or ended; says how, where that is known."""


class ConnectionLost(OtherProcessFailed):
    """The processes came together earlier and cannot any more."""


class Form(NamedTuple):
    """What a tensor's bytes mean."""

    dtype: str
    shape: list[int]

    @classmethod
    def of(cls, tensor: Tensor) -> Self:
        """Return the form of a tensor."""
        return cls(str(tensor.dtype).removeprefix("torch."), list(tensor.shape))

    @property
    def num_bytes(self) -> int:
        """Bytes of such a tensor."""
        return torch.empty(self.shape, dtype=self.torch_dtype, device="meta").nbytes

    @property
    def torch_dtype(self) -> torch.dtype:
        """The type that `dtype` names."""
        found: torch.dtype = getattr(torch, self.dtype)
        return found


def exchange(payload: bytes, size: int, *, failed: bool = False) -> list[tuple[bool, bytes]]:
    """Give a payload to all processes; return those of all, and whether their sender failed.

    Raises:
        ConnectionLost: If a process cannot be reached any more.
    """
    first = (_HEAD.pack(failed, len(payload)) + payload)[:_SIZE]
    heads, texts = [], []
    for received in _all_gather(first.ljust(_SIZE, b"\0"), size):
        heads.append(_HEAD.unpack_from(received))
        texts.append(received[_HEAD.size :])
    length = max(length for _, length in heads)
    room = _SIZE - _HEAD.size
    if length > room:
        rest = _all_gather(payload[room:].ljust(length - room, b"\0"), size)
        texts = [text + more for text, more in zip(texts, rest, strict=True)]
    if any(failed for failed, _ in heads):
        part(size)
    return [(bool(f), text[:n]) for (f, n), text in zip(heads, texts, strict=True)]


def part(size: int) -> None:
    """Leave the other processes only when they have got all that was sent to them.

    Who ends right after a meeting can take others' messages with it. Here nothing is sent that
    anyone needs: that some have gone already is as good as their coming.
    """
    with suppress(ConnectionLost):
        _all_gather(b"bye", size)


def gather(
    tensors: Sequence[Tensor], forms: Sequence[Sequence[Form]], device: torch.device
) -> list[Sequence[Tensor]]:
    """Return every process's tensors.

    Args:
        tensors: This process's, on `device`.
        forms: Of every process's tensors, by rank.
        device: Through whose network they travel.
    """
    largest = max(sum(form.num_bytes for form in of_one) for of_one in forms)
    with meeting():
        sent = torch.zeros(largest, dtype=torch.uint8, device=device)
        if tensors:
            mine = torch.cat([t.contiguous().flatten().view(torch.uint8) for t in tensors])
            sent[: len(mine)] = mine
        received = [torch.empty_like(sent) for _ in forms]
        if largest:
            distributed.all_gather(received, sent)
    return [_unpacked(buffer, of_one) for buffer, of_one in zip(received, forms, strict=True)]


@contextmanager
def meeting() -> Iterator[None]:
    """Context of what all processes do at the same time.

    A process that fails in it cannot tell the others, who wait for something else; it ends, and
    they lose its connection.

    Raises:
        ConnectionLost: If the meeting fails.
    """
    note_progress()
    try:
        yield
    except RuntimeError as error:
        raise connection_lost(error) from error
    note_progress()


def connection_lost(error: Exception) -> ConnectionLost:
    """Say what the failure of a meeting or transfer means."""
    what = str(error).partition(". ")[0]
    return ConnectionLost(
        "another process has ended without a word or cannot be reached: look at the end of "
        f"its log; or this one has no memory left for the exchange ({what})"
    )


def is_lost_connection(error: Exception) -> bool:
    """Whether an error comes from the network between the processes."""
    return isinstance(error, distributed.DistError) or (
        isinstance(error, RuntimeError) and "/gloo/" in str(error)
    )


def _all_gather(payload: bytes, size: int) -> list[bytes]:
    sent = torch.frombuffer(bytearray(payload), dtype=torch.uint8)
    received = [torch.empty_like(sent) for _ in range(size)]
    with meeting():
        distributed.all_gather(received, sent)
    return [tensor.numpy().tobytes() for tensor in received]


def _unpacked(buffer: Tensor, forms: Sequence[Form]) -> list[Tensor]:
    sizes = [form.num_bytes for form in forms]
    pieces = torch.split(buffer[: sum(sizes)], sizes)
    return [
        piece.clone().view(form.torch_dtype).reshape(form.shape)  # a clone is aligned
        for piece, form in zip(pieces, forms, strict=True)
    ]
