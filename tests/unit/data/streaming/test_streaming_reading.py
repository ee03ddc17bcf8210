"""Batches that come out of shards are the pictures that went in."""

import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from uae.data.dataset import load_dataset
from uae.data.images import square_pixels
from uae.data.sharding.run import shard_data
from uae.data.streaming.buckets import BucketGrid
from uae.data.streaming.dataset import StreamingDataset
from uae.data.streaming.prefetch import Prefetcher, share_of
from uae.errors import DataError

GRID = BucketGrid(((64, 96), (64, 64), (96, 64)))


@pytest.fixture
def dataset(shards):
    return StreamingDataset.open(str(shards))


def ordered(dataset, batch_size=4, **options):
    settings = {"seed": 0, "name": "stage", "num_window_shards": 2, **options}
    return dataset.order(GRID, batch_size, **settings)


def batches(dataset, order, first, count, rank=0, world_size=1, **options):
    places = share_of(order.batch_size, rank, world_size)
    with Prefetcher(dataset, order, places=places, step=first, **options) as stream:
        assert stream.state == first
        found = [next(stream) for _ in range(count)]
        assert stream.state == first + count
        return found


def test_a_sample_is_read_as_it_was(dataset, pairs):
    source = load_dataset(pairs)
    assert len(dataset) == len(source) == 66
    for number in (0, 5, 30, 65):
        read = dataset.read(number)
        assert read.row() == source[number].row()
        assert read.read_bytes() == source[number].read_bytes()


def test_batches_hold_the_pictures_of_the_order(dataset, pairs):
    source = load_dataset(pairs)
    order = ordered(dataset)
    for step, batch in enumerate(batches(dataset, order, 0, order.batches_per_epoch)):
        numbers = [ref.number for ref in order.batch(step)]
        width, height = batch.size
        assert batch.step == step
        assert batch.image_ids == [source.image_ids[number] for number in numbers]
        assert batch.captions == [source.captions[number] for number in numbers]
        assert batch.pixels.shape == (4, 3, height, width)
        assert batch.pixels.dtype == np.uint8
        assert batch.broken == []
        for place, number in enumerate(numbers):
            if source.image(number).size == batch.size:  # most are; the others were resized
                expected = np.asarray(source.image(number)).transpose(2, 0, 1)
                assert np.array_equal(batch.pixels[place], expected)


def test_squares_are_cut_as_everywhere_else(dataset, pairs):
    source = load_dataset(pairs)
    square = BucketGrid(((40, 40),))
    order = dataset.order(square, 6, seed=0, name="stage")
    (batch,) = batches(dataset, order, 3, 1)
    numbers = [ref.number for ref in order.batch(3)]
    assert np.array_equal(batch.as_float(), source.pixels(numbers, 40))
    assert np.array_equal(batch.as_float()[0], square_pixels(source.image(numbers[0]), 40))


def test_a_resumed_stream_goes_on_as_if_uninterrupted(dataset):
    order = ordered(dataset)
    whole = batches(dataset, order, 0, 20)
    for first in (1, 13, 19):
        found = batches(dataset, ordered(dataset), first, 20 - first, num_workers=2, num_ahead=3)
        for one, other in zip(found, whole[first:], strict=True):
            assert one.image_ids == other.image_ids
            assert np.array_equal(one.pixels, other.pixels)


@pytest.mark.parametrize("world_size", [2, 3])
def test_processes_share_the_batches_of_one(dataset, world_size):
    order = ordered(dataset, batch_size=6)
    whole = batches(dataset, order, 5, 3)
    shares = [batches(dataset, order, 5, 3, rank, world_size) for rank in range(world_size)]
    for batch, *parts in zip(whole, *shares, strict=True):
        assert [name for part in parts for name in part.image_ids] == batch.image_ids
        assert np.array_equal(np.concatenate([part.pixels for part in parts]), batch.pixels)


def break_pixels(pairs, image_id, encode_image):
    """Make a picture of noise, cut off in the middle: its header is good."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encode_image(Image.fromarray(noise))
    (pairs / f"{image_id}.png").write_bytes(data[: len(data) // 2])


@pytest.fixture
def with_a_broken_one(pairs, tmp_path, encode_image):
    break_pixels(pairs, "s0030", encode_image)
    shard_data(str(pairs), str(tmp_path / "out"), shard_size_mb=1)
    return StreamingDataset.open(str(tmp_path / "out"))


def test_a_broken_sample_is_an_error_that_names_it_and_its_shard(with_a_broken_one):
    order = ordered(with_a_broken_one)
    step = find(order, with_a_broken_one, "s0030")
    places = share_of(4, 0, 1)
    with Prefetcher(with_a_broken_one, order, places=places, step=step - 1) as stream:
        next(stream)
        for _ in range(2):
            with pytest.raises(DataError, match=r"pairs-00000\d\.tar, sample s0030: broken"):
                next(stream)
        assert stream.state == step


def test_another_may_stand_in_for_a_broken_one_the_same_in_any_process(with_a_broken_one):
    data = with_a_broken_one
    order = ordered(data)
    step = find(order, data, "s0030")
    (whole,) = batches(data, order, step, 1, on_broken="replace")
    ids = [data.index.key(ref.number) for ref in order.batch(step)]
    place = ids.index("s0030")
    assert whole.image_ids == [*ids[:place], ids[(place + 1) % 4], *ids[place + 1 :]]
    (name,) = whole.broken
    assert name.endswith(".tar, sample s0030")
    for rank in (0, 1):
        (part,) = batches(data, order, step, 1, rank, 2, on_broken="replace")
        assert part.image_ids == whole.image_ids[2 * rank : 2 * rank + 2]


def find(order, data, image_id):
    return next(
        step
        for step in range(1, order.batches_per_epoch)
        if image_id in [data.index.key(ref.number) for ref in order.batch(step)]
    )


def test_a_batch_of_broken_ones_is_an_error_in_any_case(folder, tmp_path, encode_image):
    for image_id in [f"good-{number}" for number in range(6)]:
        break_pixels(folder.path, image_id, encode_image)
    shard_data(str(folder.path), str(tmp_path / "out"))
    data = StreamingDataset.open(str(tmp_path / "out"))
    with pytest.raises(DataError, match=r"sample good-\d: broken"):
        batches(data, ordered(data, batch_size=6), 0, 1, on_broken="replace")


@pytest.mark.parametrize("on_broken", ["error", "replace"])
def test_a_damaged_or_missing_shard_is_an_error(dataset, shards, on_broken):
    path = shards / "pairs-000003.tar"
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"pairs-000003\.tar is not what its index says"):
        batches(dataset, ordered(dataset), 0, 16, on_broken=on_broken)
    path.unlink()
    with pytest.raises(DataError, match=r"cannot read shard .*pairs-000003\.tar"):
        batches(dataset, ordered(dataset), 0, 16, on_broken=on_broken)


def test_shards_of_a_folder_may_be_cached(shards, dataset, tmp_path):
    cached = StreamingDataset.open(str(shards), tmp_path / "cache", cache_gib=1)
    order = ordered(cached)
    whole = batches(dataset, order, 0, 16)
    for one, other in zip(batches(cached, order, 0, 16), whole, strict=True):
        assert np.array_equal(one.pixels, other.pixels)
    assert len([*(tmp_path / "cache").glob("*.tar")]) == 6


def test_a_cache_that_holds_too_few_shards_is_refused(shards, tmp_path):
    small = StreamingDataset.open(str(shards), tmp_path / "cache", cache_gib=0.0035)
    with pytest.raises(DataError, match="4 windows of 1 shards take"):
        Prefetcher(small, ordered(small, num_window_shards=1), places=range(4))
    data = StreamingDataset.open(str(shards))
    with pytest.raises(DataError, match="num_workers=0"):
        Prefetcher(data, ordered(data), places=range(4), num_workers=0)


def test_decoding_ahead_is_bounded(dataset):
    order = ordered(dataset)
    decoded = []
    decode = dataset.decode
    dataset.decode = lambda ref: decoded.append(ref) or decode(ref)
    with Prefetcher(dataset, order, places=range(4), num_ahead=2) as stream:
        next(stream)
        stream._decoders.shutdown()  # waits for what was asked for
        assert len(decoded) == 3 * 4


def test_a_folder_without_an_index_is_refused(pairs, shards, tmp_path):
    with pytest.raises(DataError, match=r"source has no index\.json"):
        StreamingDataset.open(str(pairs))
    (shards / "samples.parquet").unlink()
    with pytest.raises(DataError, match=r"shards has no samples\.parquet"):
        StreamingDataset.open(str(shards))


def edit(content, change):
    values = json.loads(content)
    change(values)
    return json.dumps(values).encode()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values.update(format=2), "is of format 2, not 1"),
        (lambda values: values.pop("shards"), "index.json is broken"),
        (lambda values: values["shards"][0].pop("sha256"), "index.json is broken"),
        (lambda values: values["shards"][0].update(num_samples=1), "count other samples"),
        (lambda values: values["shards"][0].update(num_bytes=5), "outside of the shards"),
        (lambda values: values["samples"].update(sha256="0"), "is not what index.json says"),
    ],
)
def test_a_broken_index_is_refused(shards, change, message):
    path = shards / "index.json"
    path.write_bytes(edit(path.read_bytes(), change))
    with pytest.raises(DataError, match=message):
        StreamingDataset.open(str(shards))


def test_samples_of_another_data_set_are_refused(shards, folder, tmp_path):
    """Even if somebody makes the hashes fit."""
    other = tmp_path / "other"
    shard_data(str(folder.path), str(other))
    samples = (other / "samples.parquet").read_bytes()
    (shards / "samples.parquet").write_bytes(samples)
    digest = hashlib.sha256(samples).hexdigest()
    path = shards / "index.json"
    path.write_bytes(edit(path.read_bytes(), lambda v: v["samples"].update(sha256=digest)))
    with pytest.raises(DataError, match="count other samples"):
        StreamingDataset.open(str(shards))
