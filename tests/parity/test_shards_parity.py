"""The shards against the webdataset package, which others will read them with."""

import io
import json

import pytest
from PIL import Image

from uae.data.dataset import load_dataset
from uae.data.sample import Sample
from uae.data.shards import write_shard


def png(color):
    file = io.BytesIO()
    Image.new("RGB", (8, 8), color).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def samples():
    return [
        Sample(f"s-{n}", f"猫 {n}", "test", "MIT", None, None, png((n, 0, 0))) for n in range(4)
    ]


def test_webdataset_reads_our_shards(samples, tmp_path):
    import webdataset

    write_shard(tmp_path / "a.tar", samples)
    rows = list(webdataset.WebDataset(str(tmp_path / "a.tar"), shardshuffle=False))
    assert [row["__key__"] for row in rows] == ["s-0", "s-1", "s-2", "s-3"]
    assert [json.loads(row["json"]) for row in rows] == [sample.row() for sample in samples]
    assert [row["png"] for row in rows] == [sample.image for sample in samples]


def test_we_read_webdataset_shards(samples, tmp_path):
    import webdataset

    with webdataset.TarWriter(str(tmp_path / "a.tar")) as writer:
        for sample in samples:
            writer.write({"__key__": sample.image_id, "png": sample.image, "json": sample.row()})
    data = load_dataset(tmp_path)
    assert [sample.row() for sample in data] == [sample.row() for sample in samples]
    assert [sample.read_bytes() for sample in data] == [sample.image for sample in samples]
