"""Every kind of meeting of a world's processes; each writes what it got as JSON."""

import json
from pathlib import Path

import torch
from distributed.engine_program import train, twelve_samples
from torch import nn

from uae.errors import TrainingError
from uae.training.distribution import World, join_world


def meet(world: World, folder: Path) -> dict[str, object]:
    me = world.rank
    own = (
        torch.full((me, 2), float(me), dtype=torch.float64),
        torch.tensor([[True, False, me == 1]]),
        torch.arange(me + 1),
    )
    gathered = world.gather(own[: me + 1])
    return {
        "messages": [len(one) for one in world.exchange("x" * 3000 * me)],
        "of_main": world.of_main({"rank": me}),
        "forms": [[[str(t.dtype), list(t.shape)] for t in tensors] for tensors in gathered],
        "values": [[tensor.tolist() for tensor in tensors] for tensors in gathered],
        "turns": turns(world),
        "gradients": gradients(world),
        "refused": refused(world),
        "weights": {name: value.tolist() for name, value in fit(folder).items()},
    }


def turns(world: World) -> list[list[float]]:
    """Squares of four numbers, each with the rank that computed it."""
    computed = world.in_turns(
        [1.0, 2.0, 3.0, 4.0], lambda x: (torch.tensor([x * x, float(world.rank)]),)
    )
    return [tensors[0].tolist() for tensors in computed]


def gradients(world: World) -> list[list[float] | None]:
    """Of three parameters: one has a gradient everywhere, one in process 1, one nowhere."""
    parameters = [nn.Parameter(torch.zeros(2)) for _ in range(3)]
    parameters[0].grad = torch.tensor([1.0, 10.0]) * (world.rank + 1)
    if world.rank == 1:
        parameters[1].grad = torch.tensor([5.0, 7.0])
    world.add_up_gradients(parameters)
    return [None if p.grad is None else p.grad.tolist() for p in parameters]


def refused(world: World) -> str:
    try:
        world.require_same({"same": 1, "rank": world.rank}, advice="start them alike")
    except TrainingError as error:
        return str(error)
    return ""


def fit(folder: Path) -> dict[str, torch.Tensor]:
    return train(twelve_samples(), folder / "linear")


def main(folder: Path, size: int) -> None:
    torch.set_num_threads(1)
    with join_world(size) as world:
        found = meet(world, folder)
        (folder / f"{world.rank}.json").write_text(json.dumps(found))
