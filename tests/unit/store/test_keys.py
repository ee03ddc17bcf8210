"""What a key may not do is said, and nothing is half-written."""

import pytest
from bucket_server import BucketServer

from uae.errors import StoreError


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    with BucketServer(tmp_path_factory.mktemp("bucket")) as server:
        yield server


def test_read_only_key_reads_and_cannot_write(bucket, tmp_path):
    bucket.store().put_bytes("runs/1/recipe.yaml", b"name: a")
    reader = bucket.store("reader")
    assert reader.get_bytes("runs/1/recipe.yaml") == b"name: a"
    assert reader.list("runs") == ["runs/1/recipe.yaml"]
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(b"w")
    for write in (
        lambda: reader.put_bytes("runs/1/recipe.yaml", b"name: b"),
        lambda: reader.put_folder(tmp_path / "model", "runs/1/model"),
        lambda: reader.delete("runs/1/recipe.yaml"),
    ):
        with pytest.raises(StoreError, match="AccessDenied") as caught:
            write()
        assert "reader-secret" not in str(caught.value)
    assert bucket.store().get_bytes("runs/1/recipe.yaml") == b"name: a"
    assert bucket.store().list("runs") == ["runs/1/recipe.yaml"]
