import importlib
import json
from pathlib import Path

import pytest
import torch
from torch import nn

FOLDER = Path(__file__).parents[3] / "benchmarks"


class Watch:
    """A clock that only moves when told to."""

    seconds = 0.0


class Slow(nn.Module):
    def __init__(self, inner=None):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        Watch.seconds += 1
        return self.inner(x) if self.inner else 2 * x


class SlowGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        Watch.seconds += 4
        return gradient


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


def test_clock_counts_nested_modules_once_and_backward_apart(benchmarks, monkeypatch):
    module = benchmarks("clock")
    monkeypatch.setattr(module, "now", lambda: Watch.seconds)
    clock = module.ModelClock()
    x = torch.ones(1, requires_grad=True)
    with clock.running():
        loss = SlowGradient.apply(Slow(Slow())(x)).sum()
        Watch.seconds += 16  # outside of any model
        loss.backward()
    assert clock.seconds == {"forward: rest": 2, "backward": 4}


def test_clock_leaves_no_trace(benchmarks):
    plain = torch.autograd.backward
    clock = benchmarks("clock").ModelClock()
    with clock.running():
        pass
    Slow()(torch.ones(1))
    assert torch.autograd.backward is plain
    assert not clock.seconds


def test_a_target_is_met_or_not_or_absent(benchmarks):
    measurement = benchmarks("measurement").Measurement
    assert measurement("a", 1.0, "s", at_most=1.0).is_met
    assert not measurement("a", 79.0, "%", at_least=80.0).is_met
    assert measurement("a", 1.0, "s").is_met is None


def test_json_holds_numbers_machine_and_settings(benchmarks, tmp_path):
    module = benchmarks("measurement")
    found = [module.Measurement("a", 1.0, "s", at_most=2.0)]
    module.write_json(tmp_path / "deep" / "bench.json", found, {"recipe": "starter"})
    content = json.loads((tmp_path / "deep" / "bench.json").read_text())
    assert content["measurements"][0]["met"] is True
    assert content["settings"] == {"recipe": "starter"}
    assert {"cpus", "torch"} <= set(content["machine"])
