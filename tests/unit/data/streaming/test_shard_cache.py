"""The cache holds no more than it may, and nothing but what the index says."""

import hashlib
import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
from unit.data.streaming.pairs import start

from uae.data.streaming.cache import ShardCache, ShardFiles
from uae.data.streaming.index import Shard
from uae.data.streaming.place import BucketPlace, FolderPlace
from uae.errors import DataError
from uae.store.s3 import Store

CONTENTS = [bytes([number]) * 1000 for number in range(4)]


@pytest.fixture
def place(tmp_path):
    """Four shards of 1000 bytes."""
    (tmp_path / "source").mkdir()
    for number, content in enumerate(CONTENTS):
        (tmp_path / "source" / f"{number}.tar").write_bytes(content)
    return FolderPlace(tmp_path / "source")


@pytest.fixture
def shards():
    return [
        Shard(f"{number}.tar", 1, 1000, hashlib.sha256(content).hexdigest())
        for number, content in enumerate(CONTENTS)
    ]


def cached(folder):
    return {path.read_bytes()[0] for path in folder.glob("*.tar")}


def test_what_is_used_longest_ago_makes_room(place, shards, tmp_path):
    cache = ShardCache(tmp_path / "cache", 2500)
    for clock, number in enumerate((0, 1, 0, 2)):
        cache.get(shards[number], place)
        path = cache.folder / f"{shards[number].sha256}.tar"
        os.utime(path, (clock, clock))
    assert cached(cache.folder) == {0, 2}
    assert cache.num_bytes() == 2000


def test_a_shard_is_read_though_it_made_room_for_others(place, shards, tmp_path):
    files = ShardFiles(place, ShardCache(tmp_path / "cache", 1000))
    first = files.get(shards[0])
    assert files.get(shards[0]) is first
    files.get(shards[1])
    assert cached(tmp_path / "cache") == {1}
    assert first.read(998, 5) == CONTENTS[0][998:]
    files.get(shards[2])
    assert files.get(shards[0]) is not first  # or its deleted file would take space for ever


def test_what_is_cached_needs_no_source(place, shards, tmp_path):
    ShardCache(tmp_path / "cache", 5000).get(shards[3], place)
    shutil.rmtree(place.path)
    again = ShardCache(tmp_path / "cache", 5000).get(shards[3], place)
    assert again.read(0, 1000) == CONTENTS[3]


@pytest.mark.parametrize("damaged", [b"\1" * 999 + b"\2", b"\1" * 10, b""])
def test_a_damaged_file_is_fetched_again(place, shards, tmp_path, damaged):
    cache = ShardCache(tmp_path / "cache", 5000)
    cache.get(shards[1], place)
    path = cache.folder / f"{shards[1].sha256}.tar"
    path.write_bytes(damaged)
    assert cache.get(shards[1], place).read(0, 1000) == CONTENTS[1]
    assert path.read_bytes() == CONTENTS[1]


def test_a_changed_source_is_refused_and_leaves_nothing(place, shards, tmp_path):
    (place.path / "1.tar").write_bytes(b"other")
    cache = ShardCache(tmp_path / "cache", 5000)
    for files in (ShardFiles(place, cache), ShardFiles(place, None)):
        with pytest.raises(DataError, match=r"source/1\.tar is not what its index says"):
            files.get(shards[1])
    assert cache.num_bytes() == 0


def test_a_missing_shard_is_named(place, shards, tmp_path):
    (place.path / "2.tar").unlink()
    for cache in (None, ShardCache(tmp_path / "cache", 5000)):
        with pytest.raises(DataError, match=r"source/2\.tar"):
            ShardFiles(place, cache).get(shards[2])


def test_downloads_that_were_killed_make_room_and_others_do_not(place, shards, tmp_path):
    cache = ShardCache(tmp_path / "cache", 2000)
    dead, alive = (cache.folder / f"{letter * 64}.900.partial" for letter in "da")
    dead.touch()
    alive.touch()
    with cache._locked("a" * 64):
        assert cache.num_bytes() == 1800
        cache.get(shards[0], place)
        assert not dead.exists()
        assert alive.exists()
        assert cache.num_bytes() == 1900


def test_a_shard_larger_than_the_cache_is_refused(place, shards, tmp_path):
    with pytest.raises(DataError, match=r"0\.tar has 1000 bytes, more than the cache"):
        ShardCache(tmp_path / "cache", 999).get(shards[0], place)


def test_shards_in_a_bucket_need_a_cache():
    store = Store("127.0.0.1:9", "uae", "key", "secret", False)
    with pytest.raises(DataError, match="s3://uae/pairs need a cache folder"):
        ShardFiles(BucketPlace(store, "pairs"), None)


def test_threads_share_one_download(shards, tmp_path):
    place = CountingPlace(tmp_path)
    files = ShardFiles(place, ShardCache(tmp_path / "cache", 5000))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(files.get, shards * 8))
    assert {id(file) for file in found} == {id(files.get(shard)) for shard in shards}
    assert sorted(place.fetched) == [shard.name for shard in shards]


PROGRAM = """
import sys, time
from pathlib import Path
from unit.data.streaming.test_shard_cache import CountingPlace, CONTENTS
from uae.data.streaming.cache import ShardCache, ShardFiles
from uae.data.streaming.index import Shard
import hashlib
place = CountingPlace(Path(sys.argv[1]))
folder, most = Path(sys.argv[1]) / "cache", int(sys.argv[2])
files = ShardFiles(place, ShardCache(folder, most))
shards = [Shard(f"{n}.tar", 1, 1000, hashlib.sha256(c).hexdigest()) for n, c in enumerate(CONTENTS)]
print("ready", flush=True)
sys.stdin.read()
for turn in range(20):
    for number in range(4):
        assert files.get(shards[number]).read(0, 1000) == CONTENTS[number]
    assert len([*folder.glob("*.tar")]) * 1000 <= most
print(len(place.fetched))
"""


@pytest.mark.parametrize("max_bytes", [4000, 2000])
def test_processes_share_a_cache(tmp_path, max_bytes):
    """With room for all each shard is fetched once; with less nobody reads a wrong byte."""
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), "tests"])}
    programs = [start("-c", PROGRAM, tmp_path, max_bytes, stdin=-1, env=paths) for _ in range(3)]
    for program in programs:
        assert program.stdout.readline() == "ready\n", program.communicate()[1]
    for program in programs:
        program.stdin.close()
    fetched = []
    for program in programs:
        program.wait(60)
        assert program.returncode == 0, program.stderr.read()
        fetched.append(int(program.stdout.read()))
    assert sum(fetched) == 4 if max_bytes == 4000 else sum(fetched) >= 4


class CountingPlace(FolderPlace):
    """A slow source that notes what is fetched from it."""

    def __init__(self, folder):
        super().__init__(folder / "source")
        self.path.mkdir(exist_ok=True)
        self.fetched = []

    def fetch(self, name, path):
        self.fetched.append(name)
        path.write_bytes(CONTENTS[int(name[0])])
