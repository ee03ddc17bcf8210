"""A data source's revision changes with what it holds, and with nothing else."""

import pytest

from uae.data.revision import source_revision
from uae.errors import DataError


def test_bucket(store):
    store.put_bytes("pairs/today/captions.jsonl", b"a")
    store.put_bytes("pairs/tomorrow/captions.jsonl", b"a")
    first = source_revision("s3://uae/pairs/today", store)
    assert source_revision("s3://uae/pairs/today/", store) == first
    store.put_bytes("pairs/tomorrow/captions.jsonl", b"other")
    assert source_revision("s3://uae/pairs/today", store) == first
    store.put_bytes("pairs/today/captions.jsonl", b"b")
    assert source_revision("s3://uae/pairs/today", store) != first
    with pytest.raises(DataError, match="nowhere"):
        source_revision("s3://uae/pairs/nowhere", store)


def test_folder_and_starter(store, tmp_path):
    (tmp_path / "a.png").write_bytes(b"1")
    first = source_revision(str(tmp_path), store)
    assert source_revision(str(tmp_path), store) == first
    (tmp_path / "b.png").write_bytes(b"2")
    assert source_revision(str(tmp_path), store) != first
    assert source_revision("starter", store) == source_revision("starter", store)
    with pytest.raises(DataError, match="nowhere"):
        source_revision(str(tmp_path / "nowhere"), store)
