import pytest
import torch

from uae.evaluation.seeding import seeded


def test_a_seed_decides_draws_and_leaves_no_trace():
    state = torch.get_rng_state()
    draws = []
    for seed in (1, 1, 2):
        with seeded(seed, torch.device("cpu")):
            draws.append(torch.rand(3))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    with pytest.raises(ValueError, match="stop"), seeded(1, torch.device("cpu")):
        raise ValueError("stop")
    assert torch.equal(torch.get_rng_state(), state)
