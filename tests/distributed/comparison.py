"""Whether two runs trained the same: weights and curves, within a tolerance."""

import pytest
from stage_world import rows, weights

WEIGHTS_TOLERANCE = 5e-5
METRICS_TOLERANCE = 2e-5
NOT_REPEATABLE = ("seconds", "images_per_second", "tokens_per_second")


def curve(model):
    log = model.with_name(f"{model.name}-log")
    return [{k: v for k, v in row.items() if k not in NOT_REPEATABLE} for row in rows(log)]


def largest_difference(one, other):
    assert one.keys() == other.keys()
    return max((one[name] - other[name]).abs().max().item() for name in one)


def require_same(one, other):
    assert largest_difference(weights(one), weights(other)) <= WEIGHTS_TOLERANCE
    before, now = curve(one), curve(other)
    assert [list(row) for row in before] == [list(row) for row in now]
    for row, expected in zip(now, before, strict=True):
        assert row == pytest.approx(expected, rel=METRICS_TOLERANCE, abs=METRICS_TOLERANCE)
