import pytest

from uae.errors import DataError
from uae.training.batches import SampleOrder


def test_an_epoch_holds_every_sample_once_and_epochs_differ():
    order = SampleOrder(12, 4, 0, "gfu")
    epochs = [[i for n in range(3) for i in order.batch(3 * e + n)] for e in range(3)]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_batches_depend_on_seed_stage_and_step_only():
    order = SampleOrder(50, 8, 0, "gfu")
    later = [order.batch(step) for step in (9, 3)]
    assert later == [SampleOrder(50, 8, 0, "gfu").batch(step) for step in (9, 3)]
    assert order.batch(0) != SampleOrder(50, 8, 1, "gfu").batch(0)
    assert order.batch(0) != SampleOrder(50, 8, 0, "ufg").batch(0)


def test_no_sample_twice_in_a_batch_when_there_are_enough():
    order = SampleOrder(11, 4, 0, "gfu")
    assert all(len(set(order.batch(step))) == 4 for step in range(20))


def test_few_samples_are_repeated_within_a_batch():
    assert sorted(SampleOrder(2, 6, 0, "gfu").batch(5)) == [0, 0, 0, 1, 1, 1]


def test_used_is_what_the_batches_hold():
    order = SampleOrder(100, 4, 0, "gfu")
    assert order.used(2) == sorted(order.batch(0) + order.batch(1))


def test_empty_data_is_an_error():
    with pytest.raises(DataError, match="holds no sample"):
        SampleOrder(0, 4, 0, "gfu")


def test_samples_set_aside_stand_in_no_batch():
    order = SampleOrder(50, 4, 0, "gfu", num_set_aside=3)
    assert len(order.set_aside) == 3
    assert order.used(100) == sorted(set(range(50)) - set(order.set_aside))


def test_at_most_a_tenth_is_set_aside():
    assert len(SampleOrder(29, 4, 0, "gfu", num_set_aside=32).set_aside) == 2


def test_too_few_samples_to_set_any_aside_is_an_error():
    with pytest.raises(DataError, match=r"gfu: early stopping .* only 9; add pictures"):
        SampleOrder(9, 4, 0, "gfu", num_set_aside=1)
