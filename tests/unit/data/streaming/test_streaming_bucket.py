"""The same from and to a real bucket."""

import hashlib
import json
import os
import time

import numpy as np
import pytest
from bucket_server import BucketServer
from unit.data.streaming.pairs import contents, start
from unit.data.streaming.test_validate_stream import streaming

from uae.data.dataset import load_dataset
from uae.data.revision import source_revision
from uae.data.sharding.run import shard_data
from uae.data.streaming.buckets import BucketGrid
from uae.data.streaming.dataset import StreamingDataset
from uae.data.streaming.prefetch import Prefetcher
from uae.data.streaming.reference import read_reference
from uae.data.validate import validate_data
from uae.errors import DataError, StoreError

GRID = BucketGrid(((64, 64),))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with BucketServer(tmp_path_factory.mktemp("bucket")) as running:
        yield running


@pytest.fixture
def store(server, monkeypatch):
    """An empty bucket, opened by the environment."""
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    opened = server.store()
    for key in opened.list(""):
        opened.delete(key)
    return opened


def upload(store, folder, prefix):
    for path in folder.iterdir():
        store.put_file(f"{prefix}/{path.name}", path)


def objects(store, prefix):
    return {key.removeprefix(f"{prefix}/"): store.get_bytes(key) for key in store.list(prefix)}


def test_a_bucket_gets_the_same_shards_from_folder_and_bucket(store, pairs, shards):
    shard_data(str(pairs), "s3://uae/shards/one", shard_size_mb=1, num_workers=2)
    assert objects(store, "shards/one") == contents(shards)
    upload(store, pairs, "pairs")
    shard_data("s3://uae/pairs", "s3://uae/shards/two", shard_size_mb=1, num_workers=2)
    assert objects(store, "shards/two") == contents(shards)
    store.get_prefix("shards/two", pairs.parent / "back")
    assert load_dataset(pairs.parent / "back").revision == load_dataset(pairs).revision


def test_a_killed_upload_is_gone_on_with(store, pairs, shards):
    command = ["-m", "uae.cli", "shard", pairs, "s3://uae/killed", "--shard-size-mb", "1"]
    run = start(*command, "--workers", "1")
    deadline = time.monotonic() + 60
    while len(store.list("killed/.unfinished")) < 2:
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < deadline
    run.kill()
    run.communicate()
    assert not store.exists("killed/index.json")
    with pytest.raises(DataError, match=r"s3://uae/killed has no index\.json"):
        StreamingDataset.open("s3://uae/killed", pairs.parent / "cache")
    again = start(*command, "--workers", "2")
    _, errors = again.communicate(timeout=60)
    assert again.returncode == 0, errors
    assert errors.count("kept from an earlier run") >= 2
    assert objects(store, "killed") == contents(shards)


def test_validated_shards_are_read_from_their_bucket(store, shards, recipe, tmp_path):
    upload(store, shards, "shards")
    out, source = tmp_path / "out", "s3://uae/shards"
    counts = validate_data(streaming(recipe), source, out, tmp_path / "report.html", store)
    assert (counts["num_train"], counts["num_heldout"]) == (53, 13)
    known = json.loads((out / "data.json").read_text())
    index = hashlib.sha256((shards / "index.json").read_bytes()).hexdigest()
    assert known["revision"] == index == source_revision(source, store)
    reference = read_reference(out)
    data = reference.open(tmp_path / "cache", 1.0, store)
    first = int(reference.trained[0])
    assert data.read(first).image_id == reference.index.key(first)
    assert [path.suffix for path in (tmp_path / "cache").iterdir() if path.is_file()] == [".tar"]
    store.put_file("shards/pairs-000003.tar", shards / "pairs-000004.tar")
    with pytest.raises(DataError, match=r"pairs-000003\.tar is not what its index says"):
        validate_data(streaming(recipe), source, tmp_path / "again", tmp_path / "r.html", store)


def test_objects_that_are_missing_or_broken_are_named(store, pairs):
    upload(store, pairs, "pairs")
    store.delete("pairs/s0003.png")
    with pytest.raises(DataError, match=r"s0003: image file exists \(no object 's0003.png'\)"):
        shard_data("s3://uae/pairs", "s3://uae/shards")
    store.put_bytes("pairs/s0003.png", b"no picture")
    with pytest.raises(DataError, match="s0003: image header can be read"):
        shard_data("s3://uae/pairs", "s3://uae/shards")
    assert store.list("shards") == []


def test_a_prefix_that_holds_something_else_is_refused(store, pairs):
    upload(store, pairs, "pairs")
    with pytest.raises(DataError, match="s3://uae/pairs already holds"):
        shard_data("s3://uae/pairs", "s3://uae/pairs")


def read(source, cache, count=16, **options):
    data = StreamingDataset.open(source, cache, **options)
    order = data.order(GRID, 4, seed=0, name="stage", num_window_shards=1)
    with Prefetcher(data, order, places=range(4)) as stream:
        return np.stack([next(stream).pixels for _ in range(count)])


def test_a_bucket_is_read_as_its_folder(store, shards, tmp_path):
    upload(store, shards, "shards")
    expected = read(str(shards), None)
    # Five shards of at most 1 MiB fit, and four windows of one are needed.
    found = read("s3://uae/shards", tmp_path / "cache", cache_gib=5.2 / 1024)
    assert np.array_equal(found, expected)
    sizes = [path.stat().st_size for path in (tmp_path / "cache").glob("*.tar")]
    assert 4 <= len(sizes) <= 5
    assert sum(sizes) <= 5.2 * 2**20
    (given,) = {read("s3://uae/shards", tmp_path / "c", 1, store=store).tobytes()}
    assert given == expected[:1].tobytes()


def test_what_is_cached_is_read_without_the_server_once_it_is_open(store, shards, tmp_path):
    upload(store, shards, "shards")
    expected = read("s3://uae/shards", tmp_path / "cache")
    data = StreamingDataset.open("s3://uae/shards", tmp_path / "cache")
    store.delete("shards")
    order = data.order(GRID, 4, seed=0, name="stage", num_window_shards=1)
    with Prefetcher(data, order, places=range(4)) as stream:
        assert np.array_equal(np.stack([next(stream).pixels for _ in range(16)]), expected)


def test_a_shard_that_is_gone_is_an_error(store, shards, tmp_path):
    upload(store, shards, "shards")
    store.delete("shards/pairs-000002.tar")
    with pytest.raises(StoreError, match=r"pairs-000002\.tar.*no such object"):
        read("s3://uae/shards", tmp_path / "cache")


PROGRAM = """
import sys
from pathlib import Path
from unit.data.streaming.test_streaming_bucket import read
print(read("s3://uae/shards", Path(sys.argv[1])).sum())
"""


def test_two_processes_download_at_once(store, shards, tmp_path):
    upload(store, shards, "shards")
    expected = read(str(shards), None).sum()
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), "tests"])}
    programs = [start("-c", PROGRAM, tmp_path / "cache", env=paths) for _ in range(2)]
    for program in programs:
        said, errors = program.communicate(timeout=60)
        assert program.returncode == 0, errors
        assert int(said) == expected
    assert len([*(tmp_path / "cache").glob("*.tar")]) == 6
    assert not [*(tmp_path / "cache").glob("*.partial")]


def test_a_bucket_needs_an_address(pairs, monkeypatch, tmp_path):
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with pytest.raises(DataError, match="set AWS_ENDPOINT_URL"):
        shard_data(str(pairs), "s3://uae/shards")
    with pytest.raises(DataError, match="set AWS_ENDPOINT_URL"):
        StreamingDataset.open("s3://uae/shards", tmp_path)


def test_the_scratch_copy_does_not_stay(store, pairs, tmp_path, monkeypatch):
    upload(store, pairs, "pairs")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    shard_data("s3://uae/pairs", str(tmp_path / "out"))
    assert [*scratch.iterdir()] == []
