"""The order of a stream is a function of seed and step: nothing is consumed, nothing is lost."""

from collections import Counter, OrderedDict

import numpy as np
import pytest
from unit.data.streaming.pairs import index_of

from uae.data.streaming.buckets import BucketGrid
from uae.data.streaming.order import StreamOrder
from uae.data.streaming.prefetch import share_of
from uae.errors import DataError

SQUARE, WIDE = (64, 64), (128, 64)
GRID = BucketGrid((SQUARE, WIDE))
# 12 shards of 10 samples, every third one wide: 80 squares and 40 wide ones.
INDEX = index_of(
    *[[WIDE if (10 * s + i) % 3 == 2 else SQUARE for i in range(10)] for s in range(12)]
)


def order(batch_size=4, index=INDEX, grid=GRID, **options):
    settings = {"seed": 0, "name": "stage", "num_window_shards": 3, **options}
    return StreamOrder(index, grid, batch_size, **settings)


def numbers(batch):
    return [ref.number for ref in batch]


def flat(batches):
    return [number for batch in batches for number in batch]


def epoch(made, number):
    steps = range(number * made.batches_per_epoch, (number + 1) * made.batches_per_epoch)
    return [numbers(made.batch(step)) for step in steps]


def test_every_epoch_is_a_permutation_where_nothing_is_left_over():
    made = order()  # 80 / 4 + 40 / 4 batches
    assert (made.batches_per_epoch, made.left_out_per_epoch) == (30, 0)
    for number in (0, 1, 2):
        assert sorted(flat(epoch(made, number))) == list(range(120))
    assert epoch(made, 0) != epoch(made, 1)


def test_what_fills_no_batch_is_left_out_and_another_in_every_epoch():
    made = order(batch_size=9)  # 80 = 8 * 9 + 8, 40 = 4 * 9 + 4
    assert (made.batches_per_epoch, made.left_out_per_epoch) == (12, 12)
    seen = [set(flat(epoch(made, number))) for number in range(8)]
    assert all(len(samples) == 108 for samples in seen)
    assert set.union(*seen) == set(range(120))


def test_a_batch_has_one_size():
    made = order()
    for step in range(made.batches_per_epoch):
        (size,) = {ref.size for ref in made.batch(step)}
        assert {numbers % 3 == 2 for numbers in numbers(made.batch(step))} == {size == WIDE}
        assert all(INDEX.shard_of[ref.number] == ref.shard for ref in made.batch(step))


def test_any_step_is_known_without_those_before():
    whole = [order().batch(step) for step in range(75)]  # two and a half epochs
    made = order()
    for step in (74, 0, 29, 30, 61, 30):
        assert made.batch(step) == whole[step]


def test_processes_together_see_the_batches_of_one():
    made = order(batch_size=6)
    for step in range(made.batches_per_epoch):
        batch = numbers(made.batch(step))
        for world_size in (1, 2, 3):
            shares = [share_of(6, rank, world_size) for rank in range(world_size)]
            assert [batch[place] for share in shares for place in share] == batch


@pytest.mark.parametrize(("rank", "size"), [(0, 4), (2, 2), (-1, 2)])
def test_a_batch_that_cannot_be_shared_out_is_refused(rank, size):
    with pytest.raises(DataError, match="a batch of 6 cannot be shared out"):
        share_of(6, rank, size)


def test_seed_and_stage_change_the_order():
    first = epoch(order(), 0)
    assert epoch(order(), 0) == first
    assert epoch(order(seed=1), 0) != first
    assert epoch(order(name="other"), 0) != first


def test_the_order_stays_what_it_is():
    """A run that is resumed with another release of numpy goes on in the same order."""
    assert [numbers(order().batch(step)) for step in (0, 1, 30)] == [
        [103, 19, 3, 6],
        [107, 2, 14, 101],
        [107, 116, 44, 113],
    ]


def test_batches_come_from_their_window_and_what_was_left_of_those_before():
    made = order()
    windows = [made.window(step) for step in range(made.batches_per_epoch)]
    assert [window.place for window in windows] == sorted(window.place for window in windows)
    begun = set()
    for step, window in enumerate(windows):
        begun.update(window.shards)
        assert len(window.shards) == 3
        assert {ref.shard for ref in made.batch(step)} <= begun
    assert begun == set(range(12))
    # What waits is less than a batch of each size, and waits in the order of the epoch.
    for place in range(3):
        used = [ref for s, w in enumerate(windows) if w.place <= place for ref in made.batch(s)]
        assert 0 <= 30 * (place + 1) - len(used) <= 2 * 3


def test_windows_follow_one_another_into_the_next_epoch():
    made = order()
    window = made.window(0)
    found = [window := made.next_window(window) for _ in range(4)]
    assert [(w.epoch, w.place) for w in found] == [(0, 1), (0, 2), (0, 3), (1, 0)]
    assert found[3] == made.window(30)


def test_samples_are_shuffled_across_the_shards_of_a_window():
    made = order(batch_size=10, num_window_shards=6)
    mixed = [len({ref.shard for ref in made.batch(step)}) for step in range(12)]
    # Of 10 drawn from 6 shards of 10, 5.3 shards are seen on average.
    assert 4.5 < np.mean(mixed) < 6


def test_shards_need_to_be_fetched_once_where_the_cache_holds_four_windows():
    rng = np.random.default_rng(0)
    shapes = [(512, 512), (448, 576), (384, 640), (640, 384)]
    picks = rng.choice(4, (120, 200), p=(0.7, 0.25, 0.045, 0.005))
    index = index_of(*[[shapes[pick] for pick in shard] for shard in picks])
    made = order(32, index, BucketGrid.of_budget(512), num_window_shards=8)
    # Of 1600 samples in a window 8 are 640 x 384, for batches of 32: these go to the next shape.
    assert made.grid.sizes == ((384, 640), (448, 576), (512, 512))
    cached, fetched, window = OrderedDict(), Counter(), None
    for step in range(made.batches_per_epoch):
        wanted = [ref.shard for ref in made.batch(step)]
        if made.window(step) != window:
            window = made.window(step)
            wanted = [*window.shards, *made.next_window(window).shards, *wanted]
        for shard in wanted:
            fetched[shard] += shard not in cached
            cached[shard] = True
            cached.move_to_end(shard)
            while len(cached) > 4 * 8:
                cached.popitem(last=False)
    assert set(fetched) == set(range(120))
    assert fetched.total() <= 120 + 8  # the first window of the next epoch


def test_only_some_samples_are_used():
    chosen = np.arange(0, 120, 2)
    made = order(only=chosen)
    assert sorted(flat(epoch(made, 0))) == chosen.tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 121}, "stage: 120 samples fill no batch of 121"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"num_window_shards": 0}, "num_window_shards=0"),
        ({"only": np.array([1, 1, 2, 3, 4])}, "stands twice"),
    ],
)
def test_what_cannot_be_ordered_is_refused(options, message):
    with pytest.raises(DataError, match=message):
        order(**options)
