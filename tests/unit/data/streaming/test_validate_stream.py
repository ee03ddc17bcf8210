"""Validating shards: what is copied, what is referred to, what is refused."""

import json

import numpy as np
import pytest
from PIL import Image
from unit.data.conftest import Folder, encode

from uae.data.dataset import load_dataset, read_samples
from uae.data.revision import source_revision
from uae.data.sharding.run import shard_data
from uae.data.streaming.reference import read_reference
from uae.data.validate import split_samples, validate_data
from uae.data.validate_stream import assign, read_index
from uae.errors import DataError
from uae.fingerprints import file_sha256
from uae.recipe import EarlyStoppingRecipe, StreamingRecipe

NUM_PAIRS = 30


def streaming(recipe, on_broken="error", num_aside=0, **data):
    """The recipe, reading from shards, with so many samples for early stopping."""
    section = StreamingRecipe(
        cache_gib=1.0, window_shards=2, num_workers=2, num_ahead=1, on_broken=on_broken
    )
    early = EarlyStoppingRecipe(every=1, patience=1, num_samples=num_aside) if num_aside else None
    ufg = recipe.understanding_for_generation.model_copy(update={"early_stopping": early})
    changed = recipe.data.model_copy(update={"streaming": section, **data})
    return recipe.model_copy(update={"data": changed, "understanding_for_generation": ufg})


def add_pairs(folder):
    noise = np.random.default_rng(0)
    for number in range(NUM_PAIRS):
        image = encode(Image.new("RGB", (48, 48), (8 * number, 7, 7)))
        folder.add(f"s{number:02d}", image + noise.bytes(100_000))


@pytest.fixture(scope="module")
def sharded(tmp_path_factory):
    """A folder of 30 pairs without splits, and its shards of 1 MiB."""
    place = tmp_path_factory.mktemp("sharded")
    folder = Folder(place / "pairs")
    add_pairs(folder)
    index = shard_data(str(folder.path), str(place / "shards"), shard_size_mb=1)
    assert len(index.shards) >= 3
    return place


def test_held_out_and_set_aside_pairs_are_copied_and_the_others_referred_to(
    sharded, recipe, tmp_path
):
    source, out = str(sharded / "shards"), tmp_path / "out"
    counts = validate_data(streaming(recipe, num_aside=2), source, out, tmp_path / "report.html")
    kept = split_samples(read_samples(sharded / "pairs")[0], recipe)
    held_out, aside = load_dataset(out / "heldout"), load_dataset(out / "set_aside")
    assert sorted(held_out.image_ids) == sorted(sample.image_id for sample in kept["heldout"])
    assert {sample.split for sample in held_out} == {"heldout"}
    assert {sample.split for sample in aside} == {"train"}
    original = load_dataset(sharded / "pairs")
    images = {sample.image_id: sample.read_bytes() for sample in original}
    assert all(sample.read_bytes() == images[sample.image_id] for sample in held_out)
    reference = read_reference(out)
    trained = [reference.index.key(number) for number in reference.trained]
    assert len(aside) == 2
    every = trained + held_out.image_ids + aside.image_ids
    assert sorted(every) == sorted(original.image_ids)
    assert sorted(path.name for path in out.iterdir()) == [
        "data.json", "heldout", "set_aside", "stream",
    ]  # fmt: skip
    known = json.loads((out / "data.json").read_text())
    num_train = NUM_PAIRS - len(held_out)
    assert known["counts"] == {"train": num_train, "heldout": len(held_out)}
    assert known["revision"] == file_sha256(sharded / "shards" / "index.json")
    assert known["revision"] == source_revision(source, None)
    assert known["licences"] == {"CC0-1.0": NUM_PAIRS}
    assert (counts["num_train"], counts["num_left_out"]) == (num_train, 0)
    assert "s07" in (tmp_path / "report.html").read_text()


def test_every_fault_is_named_and_nothing_is_written(sharded, recipe, tmp_path):
    recipe = streaming(recipe, min_side_pixels=49, allowed_licences=["CC-BY-4.0"])
    with pytest.raises(DataError, match="has 60 faults") as error:
        validate_data(recipe, str(sharded / "shards"), tmp_path / "out", tmp_path / "report.html")
    assert "s29: licence is one of CC-BY-4.0" in str(error.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html"]


@pytest.fixture
def with_broken(folder, tmp_path):
    """36 pairs in shards, of which three do not decode."""
    add_pairs(folder)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for name in ("broken-0", "broken-1"):
        folder.add(name, encode(Image.fromarray(noise))[:6000], split="train")
    folder.add("broken-2", encode(Image.fromarray(noise))[:5000], split="heldout")
    shard_data(str(folder.path), str(tmp_path / "shards"), shard_size_mb=1)
    return str(tmp_path / "shards")


def test_what_does_not_decode_is_left_out_where_the_recipe_bears_it(with_broken, recipe, tmp_path):
    out, report = tmp_path / "out", tmp_path / "report.html"
    with pytest.raises(DataError, match="broken-2: image decodes"):
        validate_data(streaming(recipe), with_broken, out, report)
    # Two of the three files are equal, which is not borne.
    with pytest.raises(DataError, match="has 2 faults") as error:
        validate_data(streaming(recipe, "replace"), with_broken, out, report)
    assert "no two files are equal" in str(error.value)


def test_left_out_samples_are_named_and_counted(folder, recipe, tmp_path):
    add_pairs(folder)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for length, split in ((6000, "train"), (5000, "heldout")):
        folder.add(f"broken-{split}", encode(Image.fromarray(noise))[:length], split=split)
    shard_data(str(folder.path), str(tmp_path / "shards"), shard_size_mb=1)
    out = tmp_path / "out"
    counts = validate_data(
        streaming(recipe, "replace"), str(tmp_path / "shards"), out, tmp_path / "report.html"
    )
    known = json.loads((out / "data.json").read_text())
    assert known["streaming"]["left_out"] == ["broken-heldout", "broken-train"]
    assert counts["num_left_out"] == 2
    reference = read_reference(out)
    trained = {reference.index.key(number) for number in reference.trained}
    held_out = set(load_dataset(out / "heldout").image_ids)
    assert "broken-train" not in trained
    assert "broken-heldout" not in held_out
    assert len(trained) == known["counts"]["train"]
    assert len(trained) + len(held_out) == 36


def test_what_is_no_sharded_data_set_is_refused_by_name(folder, recipe, tmp_path):
    out, report = tmp_path / "out", tmp_path / "report.html"
    with pytest.raises(DataError, match=r"has no index\.json: make them with `uae shard"):
        validate_data(streaming(recipe), str(folder.path), out, report)
    assert not out.exists()


def test_too_few_too_many_and_unknown_splits_are_refused_before_a_picture_is_read(
    sharded, recipe, monkeypatch
):
    files = read_index(str(sharded / "shards"), None)
    with pytest.raises(DataError, match="early stopping sets a tenth"):
        assign(files, streaming(recipe, num_aside=1, heldout_fraction=0.9))
    monkeypatch.setattr("uae.data.validate_stream.MAX_COPIED", 5)
    with pytest.raises(DataError, match=r"6 pairs are held out .* \(0\.17 or less\)"):
        assign(files, streaming(recipe, heldout_fraction=0.2))


def test_a_split_of_another_name_is_refused(folder, recipe, tmp_path):
    folder.add("other", split="test")
    shard_data(str(folder.path), str(tmp_path / "shards"))
    with pytest.raises(DataError, match=r"has splits {'test': 1}: name them train"):
        assign(read_index(str(tmp_path / "shards"), None), streaming(recipe))


def test_shards_that_are_not_those_of_their_index_are_no_data(shards, tmp_path):
    (shards / "more.tar").write_bytes(b"")
    with pytest.raises(DataError, match=r"not those of its index\.json \(more\.tar\)"):
        load_dataset(shards)
    (shards / "more.tar").unlink()
    assert len(load_dataset(shards)) == 66
    (shards / "index.json").unlink()
    (shards / ".unfinished").mkdir()
    with pytest.raises(DataError, match="holds 6 shards of a `uae shard` that has not ended"):
        load_dataset(shards)
