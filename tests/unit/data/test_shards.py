import io
import json
import tarfile

import pytest
from PIL import Image

from uae.data.dataset import load_dataset
from uae.data.sample import Sample
from uae.data.shards import write_shard, write_shards
from uae.errors import DataError


@pytest.fixture
def samples(png):
    return [
        Sample(f"s{i}", f"caption {i} 猫", "test", "MIT", "train", None, png(i)) for i in range(5)
    ]


def row(image_id="s0", **changes):
    values = {"image_id": image_id, "caption": "x", "source": "y", "licence": "MIT", **changes}
    return json.dumps(values).encode()


def write_tar(path, members, **kinds):
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            for key, value in kinds.get(name.replace(".", "_"), {}).items():
                setattr(member, key, value)
            tar.addfile(member, io.BytesIO(data))


def test_round_trip(samples, tmp_path):
    assert write_shard(tmp_path / "a.tar", samples) == 5
    data = load_dataset(tmp_path / "a.tar")
    assert [sample.row() for sample in data] == [sample.row() for sample in samples]
    assert [sample.read_bytes() for sample in data] == [sample.image for sample in samples]


def test_equal_samples_give_equal_bytes_and_equal_revision(samples, folder, tmp_path):
    write_shard(tmp_path / "a.tar", samples)
    write_shard(tmp_path / "b.tar", samples)
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    from_folder = load_dataset(folder.path)
    write_shard(tmp_path / "c.tar", from_folder)
    assert load_dataset(tmp_path / "c.tar").revision == from_folder.revision


def test_shards_are_cut_by_size_and_read_in_order(samples, tmp_path):
    largest = max(sample.num_bytes for sample in samples)
    paths = write_shards(tmp_path / "out", "train", samples, max_bytes=2 * largest)
    assert [path.name for path in paths] == [f"train-{n:06d}.tar" for n in range(3)]
    assert load_dataset(tmp_path / "out").image_ids == ["s0", "s1", "s2", "s3", "s4"]


def test_extension_follows_the_content(encode_image, tmp_path):
    jpeg = encode_image(Image.new("RGB", (8, 8)), "JPEG")
    write_shard(tmp_path / "a.tar", [Sample("s", "c", "s", "MIT", None, None, jpeg)])
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert tar.getnames() == ["s.jpg", "s.json"]


def test_writing_something_else_is_refused(tmp_path):
    with pytest.raises(DataError, match="s: not a PNG"):
        write_shard(tmp_path / "a.tar", [Sample("s", "c", "s", "MIT", None, None, b"GIF89a")])


def test_members_in_folders_are_read_as_webdataset_does(png, tmp_path):
    write_tar(tmp_path / "a.tar", [("./00/s0.png", png(0)), ("./00/s0.json", row())])
    assert load_dataset(tmp_path).image_ids == ["s0"]


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ([("../s0.png", b"x")], "member name stays inside"),
        ([("/s0.png", b"x")], "member name stays inside"),
        ([("a/../../s0.png", b"x")], "member name stays inside"),
        ([("s0.png", b"x")], "has an image and a .json .no .json"),
        ([("s0.json", row())], "has an image and a .json .no image"),
        ([("s0.png", b"x"), ("s0.jpg", b"x"), ("s0.json", row())], "stands once"),
        ([("s0.png", b"x"), ("s0.json", row()), ("s0.json", row())], "stands once"),
        ([("s0.png", b"x"), ("s0.json", b"{")], "is one JSON object"),
        ([("s0.png", b"x"), ("s0.json", row("s1"))], "member name is its image_id"),
        ([("s0.png", b"x"), ("s0.json", row(image="s0.png"))], "has no unknown key"),
        ([("s0.png", b"x"), ("s0.json", b" " * (2**20 + 1))], "json is at most"),
        ([("s0.cls", b"3")], r"is .png, .jpg, .webp or .json"),
    ],
)
def test_bad_member_is_named(members, says, tmp_path):
    write_tar(tmp_path / "a.tar", members)
    with pytest.raises(DataError, match=says) as error:
        load_dataset(tmp_path)
    assert "s0" in str(error.value)


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
)
def test_links_and_devices_are_refused(kind, tmp_path):
    special = {"type": kind, "linkname": "/etc/passwd"}
    write_tar(tmp_path / "a.tar", [("s0.png", b""), ("s0.json", row())], s0_png=special)
    with pytest.raises(DataError, match=r"s0\.png.*is a regular file"):
        load_dataset(tmp_path)


def test_id_in_two_shards_is_refused(samples, tmp_path):
    write_shard(tmp_path / "a.tar", samples)
    write_shard(tmp_path / "b.tar", samples[2:3])
    with pytest.raises(DataError, match="s2: image_id is unique"):
        load_dataset(tmp_path)


@pytest.mark.parametrize("keep", [0, 100, 700, 5000])
def test_truncated_shard_is_refused(samples, tmp_path, keep):
    write_shard(tmp_path / "a.tar", samples)
    whole = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[:keep])
    with pytest.raises(DataError, match=r"a\.tar"):
        load_dataset(tmp_path)


def test_compressed_shard_is_refused(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w:gz"):
        pass
    with pytest.raises(DataError, match="uncompressed tar"):
        load_dataset(tmp_path)
