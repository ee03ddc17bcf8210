"""Two processes that train one model end where one process does that sees both their batches."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from uae.base_weights.processes import in_processes
from uae.base_weights.trainer import TrainerSettings, run_training
from uae.seeds import make_generator

SETTINGS = TrainerSettings(num_steps=6, warmup_steps=2, ema_decay=0.9, bf16=False)


def part_loss(net: nn.Module, rank: int, step: int) -> Tensor:
    x = torch.randn(8, 4, generator=make_generator(0, "toy", rank, step))
    return (net(x) - x.sum(1, keepdim=True)).square().mean()


def train(work: Path, ranks: list[int]) -> None:
    torch.manual_seed(0)
    net = nn.Linear(4, 1)

    def loss_fn(step: int) -> Tensor:
        return torch.stack([part_loss(net, rank, step) for rank in ranks]).mean()

    run_training("toy", work, modules={"net": net}, loss_fn=loss_fn, settings=SETTINGS)


def train_part(rank: int, work: Path) -> None:
    train(work, [rank])


def test_two_processes_average_their_gradients(tmp_path: Path):
    train(tmp_path / "one", [0, 1])
    in_processes(2, train_part, tmp_path / "two")
    one, two = (
        load_file(tmp_path / name / "checkpoint-6" / "weights.safetensors")
        for name in ("one", "two")
    )
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value)
    assert (tmp_path / "two" / "log.jsonl").read_text().count("\n") == 1
