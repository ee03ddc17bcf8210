"""Batches that are prepared while others are worked on."""

import threading

import pytest

from uae.evaluation.geneval.lookahead import Lookahead


def test_the_next_batch_is_prepared_while_this_one_is_worked_on():
    begun = {position: threading.Event() for position in (0, 4, 8)}

    def prepare(position):
        begun[position].set()
        return f"batch {position}"

    with Lookahead(prepare, step=4, end=9) as ahead:
        assert ahead.take(0) == "batch 0"
        assert begun[4].wait(5)  # nobody has asked for it yet
        assert ahead.take(4) == "batch 4"
        assert ahead.take(8) == "batch 8"


def test_a_wrong_guess_changes_nothing():
    done = []

    def prepare(position):
        done.append(position)
        return position

    with Lookahead(prepare, step=1, end=10) as ahead:
        assert [ahead.take(position) for position in (0, 5, 5, 2)] == [0, 5, 5, 2]
    assert {0, 5, 2} <= set(done)
    assert max(done) < 10


def test_a_failure_reaches_whoever_asks_for_that_batch():
    def prepare(position):
        if position == 1:
            raise ValueError("broken batch 1")
        return position

    with Lookahead(prepare, step=1, end=3) as ahead:
        assert ahead.take(0) == 0
        with pytest.raises(ValueError, match="broken batch 1"):
            ahead.take(1)
        assert ahead.take(2) == 2
