"""Costs worked by hand, and against torch's own counter on models that really compute."""

import pytest
import torch
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from uae.planning.trace import NOTHING, Cost, trace


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_matrix_product_by_hand(device):
    left, right = torch.ones(3, 5, device=device), torch.ones(5, 7, device=device)
    flops = 2 * 3 * 5 * 7
    assert trace(lambda: left @ right) == Cost(flops, 3 * 7 * 4, float32_flops=flops)
    left, right = left.bfloat16(), right.bfloat16()
    assert trace(lambda: left @ right) == Cost(flops, 3 * 7 * 2, float32_flops=0)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_memory_is_the_most_that_lives_at_once(device):
    x = torch.ones(1000, device=device)  # from outside: not counted

    def call():
        y = x + 1  # 4000
        y = y * 2  # both: 8000
        y = y - 1  # the first is gone: 8000
        z = y.view(10, 100)  # no memory of its own
        return y, z

    assert trace(call) == Cost(0, 8000)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_backward_holds_what_it_needs(device):
    x = torch.ones(100, 100, device=device, requires_grad=True)
    x.grad = torch.zeros_like(x)

    def call():
        (x.exp().exp()).sum().backward()

    # Both results are kept for the backward pass (2 x 40,000); the second one's gradient comes on
    # top, and takes its place when the first one's is made. The sum and its gradient: 2 x 4.
    assert trace(call).peak_bytes == 3 * 40_000 + 8


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_recomputing_keeps_inputs_alone(device):
    layers = [torch.nn.Sequential(*[torch.nn.Tanh() for _ in range(10)]) for _ in range(8)]
    x = torch.ones(1000, device=device, requires_grad=True)
    x.grad = torch.zeros_like(x)

    def call(recompute):
        y = x
        for layer in layers:
            y = checkpoint(layer, y, use_reentrant=False) if recompute else layer(y)
        y.sum().backward()

    kept, recomputed = trace(lambda: call(False)), trace(lambda: call(True))
    assert kept.peak_bytes >= 80 * 4000  # every Tanh keeps its result
    # Inputs of 8 layers, results of one layer, and a few gradients.
    assert 8 * 4000 + 10 * 4000 <= recomputed.peak_bytes <= 8 * 4000 + 14 * 4000


def test_attention_keeps_no_matrix_of_all_pairs():
    query = torch.empty(1, 1, 4096, 64, device="meta", dtype=torch.bfloat16, requires_grad=True)
    attend = torch.nn.functional.scaled_dot_product_attention

    def call():
        torch.nn.functional.scaled_dot_product_attention(query, query, query).sum().backward()

    cost = trace(call)
    # Two products forward; torch counts five backward, where the matrix is made again.
    assert cost.flops == 7 * 2 * 4096 * 4096 * 64
    assert cost.peak_bytes < 4096 * 4096 * 2
    assert torch.nn.functional.scaled_dot_product_attention is attend


def test_costs_add_up_one_after_another():
    assert Cost(3, 5, 1) + Cost(4, 2, 4) == Cost(7, 5, 5)
    assert Cost(3, 5, 2).times(3) == Cost(9, 5, 6)
    assert Cost(4, 5, 2).times(2.5) == Cost(10, 5, 5)
    assert Cost(3, 5).times(0) == NOTHING


def test_counts_what_torch_counts():
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
    x = torch.randn(2, 6, 32)
    with FlopCounterMode(display=False) as counter:
        layer(x).sum().backward()
    assert trace(lambda: layer(x).sum().backward()).flops == counter.get_total_flops() > 0
