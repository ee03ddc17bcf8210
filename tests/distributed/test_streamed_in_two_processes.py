"""Two processes that stream their samples train as one does, also where one does not decode."""

import pytest
from distributed.cases import BROKEN, STREAMED, STREAMED_SHARDED
from distributed.comparison import curve, require_same
from stage_world import rows
from streamed_world import STREAMING

from uae.data.streaming.buckets import BucketGrid
from uae.data.streaming.order import StreamOrder
from uae.data.streaming.reference import read_reference


@pytest.mark.parametrize("case", STREAMED)
def test_curve_and_weights_are_those_of_one_process(runs, case):
    require_same(runs.of(case, "streamed-one"), runs.of(case, "streamed-two"))


@pytest.mark.parametrize("case", STREAMED_SHARDED)
def test_sharing_models_out_changes_nothing(sharded, case):
    require_same(sharded.of(case, "streamed-two"), sharded.of(case, "streamed-sharded"))


def test_resumed_with_another_number_of_processes_goes_on(runs):
    require_same(runs.of("pretrain-lora", "streamed-one"), runs.of("pretrain-lora", "streamed-2-1"))


def test_samples_that_others_stand_in_for_are_counted(runs, world):
    reference = read_reference(world.data.parent / "streamed" / "data")
    order = StreamOrder(
        reference.index,
        BucketGrid(((32, 32),)),
        4,
        seed=0,
        name="cold_start",
        num_window_shards=STREAMING["window_shards"],
        only=reference.trained,
    )
    numbers = [[ref.number for ref in order.batch(step)] for step in range(5)]
    words = [reference.index.caption_words[batch].tolist() for batch in numbers]
    assert any(sum(of_batch[:2]) != sum(of_batch[2:]) for of_batch in words)  # not in halves
    keys = [[reference.index.key(ref.number) for ref in order.batch(step)] for step in range(5)]
    expected = [float(BROKEN in batch) for batch in keys]
    assert sum(expected) > 0
    for how in ("streamed-one", "streamed-two"):
        log = runs.of("cold-start", f"{how}-log")
        assert [row["replaced_samples"] for row in rows(log)] == expected
    assert "replaced_samples" not in curve(runs.of("cold-start", "two"))[0]
