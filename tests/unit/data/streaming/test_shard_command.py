"""`uae shard`: equal data give equal bytes, whoever writes them and however often it is killed."""

import io
import json
import os
import shutil
import signal
import tarfile
import time

import numpy as np
import psutil
import pytest
import webdataset
from PIL import Image
from unit.data.streaming.pairs import contents, start

from uae import cli
from uae.data.dataset import load_dataset
from uae.data.images import decode_rgb
from uae.data.sharding.header import upright_size
from uae.data.sharding.run import shard_data
from uae.data.sharding.target import FolderTarget
from uae.data.shards import write_shard
from uae.data.streaming.dataset import StreamingDataset
from uae.data.streaming.index import SHOWN_GRID
from uae.errors import DataError


def test_the_command_says_what_it_made(pairs, tmp_path, capsys):
    out = tmp_path / "shards"
    assert cli.main(["shard", str(pairs), str(out), "--shard-size-mb", "1", "--workers", "2"]) == 0
    said = capsys.readouterr()
    assert f"{out}: 66 pairs in 6 shards" in said.out
    assert "512x512" in said.out
    assert said.err == ""
    names = [f"pairs-{number:06d}.tar" for number in range(6)]
    assert sorted(contents(out)) == ["index.json", *names, "samples.parquet"]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert all(len(contents(out)[name]) <= 2**20 for name in names)


def test_equal_data_give_equal_bytes_with_any_number_of_workers(pairs, shards, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(pairs, copy)  # other times of change
    shard_data(str(copy), str(tmp_path / "again"), shard_size_mb=1, num_workers=1)
    assert contents(tmp_path / "again") == contents(shards)


def test_shards_are_those_that_the_other_writer_makes(pairs, tmp_path):
    shard_data(str(pairs), str(tmp_path / "shards"))
    write_shard(tmp_path / "one.tar", load_dataset(pairs))
    written = contents(tmp_path / "shards")["pairs-000000.tar"]
    assert written == (tmp_path / "one.tar").read_bytes()


def test_shards_are_read_by_load_dataset_and_by_webdataset(pairs, shards):
    source, read = load_dataset(pairs), load_dataset(shards)
    assert read.revision == source.revision
    urls = [str(path) for path in sorted(shards.glob("*.tar"))]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == source.image_ids
    assert [sample["png"] for sample in samples] == [sample.read_bytes() for sample in source]
    assert [json.loads(sample["json"])["caption"] for sample in samples] == source.captions


def test_the_index_says_where_everything_stands(shards, pairs):
    index = StreamingDataset.open(str(shards)).index
    assert [index.key(number) for number in range(66)] == load_dataset(pairs).image_ids
    assert (index.widths[:9].tolist(), index.heights[:9].tolist()) == (
        [48] * 6 + [64, 96, 64],
        [48] * 6 + [64, 64, 96],
    )
    assert index.caption_words.tolist() == [5] * 66
    shown = [f"{w}x{h}" for w, h in SHOWN_GRID.sizes]
    places = SHOWN_GRID.assign(index.widths, index.heights)
    assert index.samples["bucket"].to_pylist() == [shown[place] for place in places]
    number = 0
    for shard in index.shards:
        with tarfile.open(shards / shard.name) as tar:
            for picture, row in zip(*[iter(tar.getmembers())] * 2, strict=True):
                assert index.location(number) == (
                    picture.offset_data, picture.size, row.offset_data, row.size,
                )  # fmt: skip
                number += 1
    assert number == 66


def test_splits_are_known(folder, tmp_path):
    folder.add("held", split="heldout")
    shard_data(str(folder.path), str(tmp_path / "shards"))
    index = StreamingDataset.open(str(tmp_path / "shards")).index
    assert index.numbers_of("heldout").tolist() == [6]
    assert index.numbers_of(None).tolist() == [0, 1, 2, 3, 4, 5]


def kill_midway(command, is_begun):
    """Start a run, kill it without warning when some shards are finished, and see it gone."""
    run = start("-m", "uae.cli", *command)
    deadline = time.monotonic() + 60
    while not is_begun():
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    children = psutil.Process(run.pid).children(recursive=True)
    run.kill()
    run.wait()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []


def test_a_killed_run_leaves_nothing_half_written_and_is_gone_on_with(pairs, shards, tmp_path):
    out, work = tmp_path / "out", tmp_path / ".out.unfinished"
    command = ["shard", pairs, out, "--shard-size-mb", "1", "--workers", "1"]
    kill_midway(command, lambda: len([*work.glob(".unfinished/*.json")]) >= 2)
    assert not out.exists()
    finished = {path.name[:-5]: path for path in work.glob(".unfinished/*.json")}
    assert 2 <= len(finished) < 6
    kept = {name: (work / name).stat().st_ino for name in finished}
    for name in finished:
        assert (work / name).read_bytes() == (shards / name).read_bytes()

    run = start("-m", "uae.cli", *command)
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 0, errors
    assert errors.count("kept from an earlier run") == len(finished)
    assert contents(out) == contents(shards)
    assert {name: (out / name).stat().st_ino for name in kept} == kept
    assert not work.exists()


def test_a_run_that_has_ended_is_not_repeated(pairs, shards):
    before = {path: path.stat().st_mtime_ns for path in shards.iterdir()}
    shard_data(str(pairs), str(shards), shard_size_mb=1)
    assert {path: path.stat().st_mtime_ns for path in shards.iterdir()} == before


def test_shards_of_a_changed_picture_are_written_anew(pairs, tmp_path):
    """A late header stops the run. Of the early shards the changed one is not kept."""
    out, work = tmp_path / "out", tmp_path / ".out.unfinished"
    late = pairs / "s0059.png"
    good = late.read_bytes()
    late.write_bytes(b"x" * len(good))
    with pytest.raises(DataError, match="s0059: image header can be read"):
        shard_data(str(pairs), str(out), shard_size_mb=1)
    assert not out.exists()
    finished = work / "pairs-000000.tar"
    inode = finished.stat().st_ino
    late.write_bytes(good)
    early = pairs / "s0012.png"  # in the second shard, of the same size afterwards
    early.write_bytes(early.read_bytes()[:-1] + b"\0")
    shard_data(str(pairs), str(out), shard_size_mb=1)
    assert (out / "pairs-000000.tar").stat().st_ino == inode
    assert load_dataset(out).revision == load_dataset(pairs).revision


def test_everything_that_is_broken_is_named(folder, tmp_path):
    folder.add("good-2")
    row = {"caption": "a cat", "source": "drawn", "licence": "MIT"}
    for image_id, name in (("gone", "no.png"), ("outside", "../a.png"), ("linked", "link.png")):
        folder.add_line(json.dumps({"image_id": image_id, "image": name, **row}))
    (folder.path / "link.png").symlink_to("good-0.png")
    folder.add("wordless", caption=...)
    folder.add_line("{")
    with pytest.raises(DataError) as error:
        shard_data(str(folder.path), str(tmp_path / "out"))
    message = str(error.value)
    assert "has 6 faults" in message
    for fault in (
        "good-2: image_id is unique (stands 2 times)",
        "gone: image file exists (no file 'no.png')",
        "outside: image path stays inside the data folder",
        "linked: image path has no symbolic link",
        "wordless: has every required key (missing caption)",
        "captions.jsonl line 12: is one JSON object",
    ):
        assert fault in message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_every_unreadable_header_is_named(folder, tmp_path, bomb):
    folder.add("empty", b"")
    folder.add("text", b"this is no picture")
    folder.add("bomb", bomb(100_000))
    with pytest.raises(DataError) as error:
        shard_data(str(folder.path), str(tmp_path / "out"))
    for fault in (
        "empty: image header can be read (the file is empty",
        "text: image",
        "bomb: image",
    ):
        assert fault in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("what", ["other data", "other size", "other files", "a file"])
def test_a_place_that_is_taken_is_left_as_it_is(pairs, shards, tmp_path, what, capsys):
    size, out = "1", shards
    if what == "other data":
        captions = (pairs / "captions.jsonl").read_text().splitlines()
        (pairs / "captions.jsonl").write_text("\n".join(captions[:-20]))
    elif what == "other size":
        size = "2"
    elif what == "other files":
        out = tmp_path / "taken"
        out.mkdir()
        (out / "notes.txt").write_text("mine")
    else:
        out = tmp_path / "file"
        out.write_text("mine")
    before = contents(out) if out.is_dir() else out.read_text()
    assert cli.main(["shard", str(pairs), str(out), "--shard-size-mb", size]) == 2
    assert "already" in capsys.readouterr().err
    assert (contents(out) if out.is_dir() else out.read_text()) == before


def test_two_runs_into_one_folder_are_refused(pairs, tmp_path):
    refused = pytest.raises(DataError, match="another `uae shard` is writing")
    with FolderTarget(tmp_path / "out").held(), refused:
        shard_data(str(pairs), str(tmp_path / "out"))


@pytest.mark.parametrize("size", ["0", "-5"])
def test_a_wrong_size_is_refused(pairs, tmp_path, capsys, size):
    assert cli.main(["shard", str(pairs), str(tmp_path / "out"), "--shard-size-mb", size]) == 2
    assert f"shard_size_mb={size}" in capsys.readouterr().err


def test_a_folder_without_captions_or_rows_is_refused(tmp_path, folder):
    with pytest.raises(DataError, match=r"has no captions\.jsonl"):
        shard_data(str(tmp_path), str(tmp_path / "out"))
    (folder.path / "captions.jsonl").write_text("\n \n")
    with pytest.raises(DataError, match="has no samples"):
        shard_data(str(folder.path), str(tmp_path / "out"))


def test_ctrl_c_ends_the_run_and_its_workers(pairs, tmp_path):
    run = start("-m", "uae.cli", "shard", pairs, tmp_path / "out", "--shard-size-mb", "1")
    while not (tmp_path / ".out.unfinished").exists():
        assert run.poll() is None, run.communicate()
        time.sleep(0.002)
    children = psutil.Process(run.pid).children(recursive=True)
    os.kill(run.pid, signal.SIGINT)
    _, errors = run.communicate(timeout=60)
    assert "Traceback" not in errors
    assert run.returncode == 128 + signal.SIGINT or (tmp_path / "out").exists()
    assert psutil.wait_procs(children, timeout=10)[1] == []


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", [None, 1, 3, 6, 8])
def test_sizes_are_those_of_the_decoded_picture(encode_image, format_name, orientation):
    image = Image.fromarray(np.zeros((30, 50, 3), dtype=np.uint8))
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    data = encode_image(image, format_name, exif=exif)
    assert upright_size(data) == decode_rgb(data).size
    assert upright_size(data) == ((30, 50) if orientation in (6, 8) else (50, 30))


def test_rotation_may_follow_the_pixels_of_a_png(encode_image):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode_image(Image.new("RGB", (50, 30)), exif=exif)
    start_of = data.index(b"eXIf") - 4
    end = start_of + 12 + int.from_bytes(data[start_of : start_of + 4], "big")
    last = data.rindex(b"IEND") - 4
    moved = data[:start_of] + data[end:last] + data[start_of:end] + data[last:]
    assert Image.open(io.BytesIO(moved)).info.get("exif") is None  # before the pixels are read
    assert upright_size(moved) == (30, 50)
