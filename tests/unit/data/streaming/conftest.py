import shutil

import pytest
from unit.data.conftest import Folder, encode
from unit.data.streaming.pairs import bulky

from uae.data.sharding.run import shard_data


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """A folder with six small pairs and 60 of three shapes and 100 KB each, and its shards."""
    place = tmp_path_factory.mktemp("made")
    folder = Folder(place / "source")
    for index in range(6):
        folder.add(f"good-{index}")
    bulky(folder, encode, 60, 100_000)
    shard_data(str(folder.path), str(place / "shards"), shard_size_mb=1, num_workers=2)
    return place


@pytest.fixture
def pairs(made_once, tmp_path):
    """The folder, the test's own."""
    return shutil.copytree(made_once / "source", tmp_path / "source")


@pytest.fixture
def shards(made_once, tmp_path):
    """Its six shards of 1 MiB, the test's own."""
    return shutil.copytree(made_once / "shards", tmp_path / "shards")
