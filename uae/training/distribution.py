"""Several processes that train one model together, started by torchrun: data parallelism.

Every process holds the whole model and computes its samples of each update's batch. All of them
come to the same meetings in the same order: gradients are added up, rewards and metrics put
together, decisions taken from the main process. A process that fails says so at its next meeting,
where the others learn it, so that nobody waits for it.

With one process nothing of torch.distributed is touched, but it is watched like several.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.distributed.tensor import DTensor

from uae.errors import TrainingError, UaeError
from uae.training import messages
from uae.training.messages import ConnectionLost, Form, OtherProcessFailed
from uae.training.numerics import training_device
from uae.training.register import LoneRegister, Register
from uae.training.watchdog import Watchdog

# Longer than any one process computes or uploads alone while the others wait; shorter than a
# night's budget, should a machine hang. A process that ends is noticed at once without it.
PATIENCE = timedelta(minutes=30)
# nccl ends a process that has waited for its timeout, without a word. Ours comes before that.
NCCL_MARGIN = timedelta(minutes=2)

Chunk = TypeVar("Chunk")


@dataclass(frozen=True)
class World:
    """The processes that train together, as one of them sees it."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0  # on this machine; it has the GPU of this number
    patience: timedelta = PATIENCE  # how long a process is waited for

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes logs, checkpoints and outputs."""
        return self.rank == 0

    def exchange(self, message: Any) -> list[Any]:
        """Give a JSON value to all processes and return those of all, by rank.

        Raises:
            OtherProcessFailed: If one of them has.
        """
        if self.size == 1:
            messages.note_progress()
            return [message]
        found = messages.exchange(json.dumps(message).encode(), self.size)
        for rank, (failed, payload) in enumerate(found):
            if failed:
                text = payload.decode()
                raise OtherProcessFailed(f"process {rank} of {self.size} failed: {text}")
        return [json.loads(payload) for _, payload in found]

    def of_main(self, message: Any) -> Any:
        """Return the main process's value in all processes."""
        return self.exchange(message if self.is_main else None)[0]

    def wait(self) -> None:
        """Go on when all processes are here."""
        self.exchange(None)

    def part(self) -> None:
        """Go on when all processes are here, each to its own end: there is no later meeting."""
        self.wait()
        if self.size > 1:
            messages.part(self.size)

    def require_same(self, values: Mapping[str, Any], *, advice: str) -> None:
        """Check that all processes have the same values.

        Args:
            values: By name.
            advice: What to do where they have not.

        Raises:
            TrainingError: Naming the first value that differs.
        """
        everyone = self.exchange(dict(values))
        for name in values:
            found = [one[name] for one in everyone]
            if any(value != found[0] for value in found):
                shown = ", ".join(f"process {rank}: {value}" for rank, value in enumerate(found))
                raise TrainingError(f"the processes differ in {name} ({shown}): {advice}")

    def gather(self, tensors: Sequence[Tensor]) -> list[Sequence[Tensor]]:
        """Return every process's tensors, by rank, on this process's training device.

        They may be of different number, shape and type in every process.
        """
        if self.size == 1:
            messages.note_progress()
            return [tensors]
        everyone = self.exchange([Form.of(tensor) for tensor in tensors])
        forms = [[Form(*form) for form in of_one] for of_one in everyone]
        device = training_device()
        return messages.gather([t.detach().to(device) for t in tensors], forms, device)

    def in_turns(
        self, chunks: Sequence[Chunk], compute: Callable[[Chunk], Sequence[Tensor]]
    ) -> Iterator[Sequence[Tensor]]:
        """Compute something for every chunk in one of the processes; yield it for each, in order.

        All processes must take all of it.
        """
        for first in range(0, len(chunks), self.size):
            place = first + self.rank
            computed = compute(chunks[place]) if place < len(chunks) else ()
            yield from self.gather(computed)[: len(chunks) - first]

    @torch.no_grad()
    def add_up_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace each gradient by its sum over all processes: one float32 buffer, one meeting.

        A parameter without a gradient in every process keeps none. Those that are shared out have
        their sums already, from the backward pass.
        """
        if self.size == 1:
            messages.note_progress()
            return
        parameters = [p for p in parameters if not isinstance(p, DTensor)]
        present = self.exchange("".join("01"[p.grad is not None] for p in parameters))
        held = [p for p, *flags in zip(parameters, *present, strict=True) if "1" in flags]
        if not held:
            return
        with messages.meeting():
            gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in held]
            flat = torch.cat([gradient.float().flatten() for gradient in gradients])
            distributed.all_reduce(flat)
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        for parameter, gradient, part in zip(held, gradients, parts, strict=True):
            parameter.grad = gradient.copy_(part.view_as(gradient))


_ALONE = World()
_joined = _ALONE
_transfers = False


def expect_transfers() -> None:
    """Say that from now on pieces of models travel between the processes, beside messages."""
    global _transfers
    _transfers = True


def current_world() -> World:
    """Return the world that this process has joined; one process where it has joined none."""
    return _joined


@contextmanager
def join_world(
    expected_size: int,
    *,
    patience: timedelta = PATIENCE,
    on_hang: Callable[[ConnectionLost], None] = lambda _: None,
) -> Iterator[World]:
    """Train together with the other processes that torchrun has started, until the context ends.

    Args:
        expected_size: How many processes there must be. 1 needs no torchrun.
        patience: How long a process is waited for, and may stand still.
        on_hang: Told, in another thread, before this process ends because its main thread hangs
            and cannot raise anything; see `uae.training.watchdog`.

    Raises:
        TrainingError: If torchrun has started another number of processes, they cannot meet, or
            another process has failed, is gone or does not come. It is named where that is known.
            On GPUs the processes stay connected then: `uae.launch.worker` ends without waiting.
    """
    global _joined, _transfers
    world = _started_by_torchrun(expected_size, patience)
    if world.size == 1:
        with closing(LoneRegister()) as alone, closing(Watchdog(alone, patience, on_hang)):
            yield world
        return
    _meet_the_others(world)
    _joined, _transfers = world, False
    register = Register(world.rank, world.size)
    watchdog = Watchdog(register, patience, on_hang)
    is_together = False
    try:
        yield world
        world.part()  # the main process may still write; and a failure is everyone's
        is_together = True
    except ConnectionLost as error:
        watchdog.close()
        raise _explained(error, register) from error
    except OtherProcessFailed:
        raise
    except Exception as error:
        watchdog.close()
        if messages.is_lost_connection(error):  # in a transfer of pieces
            raise _explained(messages.connection_lost(error), register) from error
        _tell_the_others(world, error, register)
        raise
    finally:
        watchdog.close()
        register.close()
        _joined = _ALONE
        if is_together or not torch.cuda.is_available():
            # nccl would wait for the others first, who may hang, or wait for this process.
            distributed.destroy_process_group()


def _explained(error: ConnectionLost, register: Register) -> ConnectionLost:
    missing = register.missing()
    register.give_up(missing or str(error))
    return ConnectionLost(f"{missing}. {error}") if missing else error


def backend() -> str:
    """Return what carries messages and small tensors, and what carries tensors on GPUs.

    Messages travel on the CPU, where a lost process is noticed at once.
    """
    return "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"


def _started_by_torchrun(expected_size: int, patience: timedelta) -> World:
    found = os.environ.get("WORLD_SIZE")
    if found is None and expected_size == 1:
        return _ALONE
    if found != str(expected_size):
        raise TrainingError(
            f"WORLD_SIZE is {found or 'not set'}, but {expected_size} processes are to train "
            "together: start them with torchrun, --nnodes times --nproc-per-node of them"
        )
    numbers = {name: os.environ.get(name, "") for name in ("RANK", "LOCAL_RANK")}
    if not all(n.isdecimal() and int(n) < expected_size for n in numbers.values()):
        raise TrainingError(
            f"{numbers} do not number a process among {expected_size}: start them with torchrun, "
            "which sets these variables"
        )
    return World(int(numbers["RANK"]), expected_size, int(numbers["LOCAL_RANK"]), patience)


def _meet_the_others(world: World) -> None:
    has_gpu = torch.cuda.is_available()
    timeout = world.patience + NCCL_MARGIN if has_gpu else world.patience
    if has_gpu:
        if world.local_rank >= torch.cuda.device_count():
            raise TrainingError(
                f"process {world.local_rank} of this machine has no GPU of its own, there are "
                f"{torch.cuda.device_count()}: start one process for each (--nproc-per-node)"
            )
        torch.cuda.set_device(world.local_rank)
    try:
        distributed.init_process_group(backend(), timeout=timeout)
    except (RuntimeError, ValueError) as error:
        raise OtherProcessFailed(
            f"process {world.rank} of {world.size} cannot meet the others: {error}; start them "
            "with torchrun, and let them reach its rendezvous endpoint"
        ) from error


def _tell_the_others(world: World, error: Exception, register: Register) -> None:
    text = str(error) if isinstance(error, UaeError) else f"{type(error).__name__}: {error}"
    with suppress(RuntimeError):
        register.failed(text)
    if _transfers:  # the others may wait for a piece, not for a message: they lose the connection
        return
    with suppress(OtherProcessFailed):
        messages.exchange(text.encode(), world.size, failed=True)
