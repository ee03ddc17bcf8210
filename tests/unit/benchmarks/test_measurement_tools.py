import importlib
import json
import time
from pathlib import Path

import pytest
import torch
from torch import nn

FOLDER = Path(__file__).parents[3] / "benchmarks"


class Slow(nn.Module):
    def __init__(self, inner=None):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        time.sleep(0.05)
        return self.inner(x) if self.inner else 2 * x


class SlowGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        time.sleep(0.05)
        return gradient


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


def test_clock_counts_nested_modules_once_and_backward_apart(benchmarks):
    clock = benchmarks("clock").ModelClock()
    x = torch.ones(1, requires_grad=True)
    with clock.running():
        loss = SlowGradient.apply(Slow(Slow())(x)).sum()
        time.sleep(0.1)  # outside of any model
        loss.backward()
    assert set(clock.seconds) == {"forward: rest", "backward"}
    assert 0.1 <= clock.seconds["forward: rest"] < 0.15
    assert 0.05 <= clock.seconds["backward"] < 0.1


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
