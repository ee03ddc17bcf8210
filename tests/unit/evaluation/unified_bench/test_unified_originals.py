import io
import json

import numpy as np
import pytest
from bucket_server import BucketServer
from PIL import Image

from uae.data.starter.vocabulary import STARTER_DATA
from uae.errors import DataError, EvaluationError, StoreError
from uae.evaluation.unified_bench.originals import load_originals
from uae.recipe import UnifiedBenchRecipe


def settings(pictures, count=100):
    return UnifiedBenchRecipe(pictures=str(pictures), num_samples=count, slots={"clip": "clip"})


def encoded(color, size=(6, 4), kind="PNG", **options):
    data = io.BytesIO()
    Image.new("RGB", size, color).save(data, kind, **options)
    return data.getvalue()


def test_heldout_is_the_folder_of_a_validated_data_set(context, data):
    found, prompts = load_originals(settings("heldout", 3), context())
    assert [original.image_id for original in found] == ["heldout-0", "heldout-1", "heldout-2"]
    assert found[0].facts is not None
    assert (prompts.name, prompts.count) == ("heldout", 3)
    again = load_originals(settings("heldout", 4), context())[1]
    assert again.sha256 != prompts.sha256  # other pictures are another set


def test_heldout_is_the_split_of_any_other_data_set(context, data):
    found, _ = load_originals(settings("heldout", 500), context(data=STARTER_DATA))
    assert len(found) == 200
    assert found[0].picture().shape == (64, 64, 3)
    with pytest.raises(EvaluationError, match="no held-out picture"):
        load_originals(settings("heldout"), context(data=data / "benchmark"))


def test_no_data_is_no_heldout(context, tmp_path):
    with pytest.raises(DataError, match="no data at"):
        load_originals(settings("heldout"), context(data=tmp_path / "nowhere"))


def test_a_folder_gives_its_pictures_by_name(context, tmp_path):
    (tmp_path / "b.PNG").write_bytes(encoded("red"))
    (tmp_path / "a two.jpg").write_bytes(encoded("blue", kind="JPEG"))
    (tmp_path / "c.d.webp").write_bytes(encoded("lime", kind="WEBP", lossless=True))
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "._b.png").write_bytes(b"what another system leaves")
    found, prompts = load_originals(settings(tmp_path), context())
    assert [original.image_id for original in found] == ["a two", "b", "c.d"]
    assert (found[1].picture() == [255, 0, 0]).all()
    assert found[1].picture().shape == (4, 6, 3)  # as it is: not cropped
    assert (prompts.name, prompts.source) == ("pictures", tmp_path.name)
    assert found[0].facts is None


def test_pictures_are_turned_upright(context, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "a.jpg").write_bytes(encoded("red", (8, 4), "JPEG", exif=exif))
    (original,), _ = load_originals(settings(tmp_path), context())
    assert original.picture().shape == (8, 4, 3)


def test_two_pictures_of_one_name_are_refused(context, tmp_path):
    for name in ("a.png", "a.jpg"):
        (tmp_path / name).write_bytes(encoded("red", kind="PNG"))
    with pytest.raises(EvaluationError, match=r"a\.jpg and a\.png; rename"):
        load_originals(settings(tmp_path), context())


def test_what_is_no_picture_is_named(context, tmp_path):
    with pytest.raises(EvaluationError, match="no folder"):
        load_originals(settings(tmp_path / "nowhere"), context())
    with pytest.raises(EvaluationError, match="has no picture"):
        load_originals(settings(tmp_path), context())
    (tmp_path / "a.png").write_bytes(b"GIF89a")
    with pytest.raises(EvaluationError, match="'a': not a PNG"):
        load_originals(settings(tmp_path), context())
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:6000])
    (original,), _ = load_originals(settings(tmp_path), context())
    with pytest.raises(EvaluationError, match="'a': broken or truncated"):
        original.picture()


def test_a_picture_that_changes_on_the_way_is_refused(context, tmp_path):
    (tmp_path / "a.png").write_bytes(encoded("red"))
    (original,), before = load_originals(settings(tmp_path), context())
    (tmp_path / "a.png").write_bytes(encoded("blue"))
    with pytest.raises(EvaluationError, match="has changed"):
        original.picture()
    assert load_originals(settings(tmp_path), context())[1].sha256 != before.sha256


def test_a_set_is_known_by_its_pictures_not_by_its_folder(context, tmp_path):
    sets = []
    for name in ("unified-bench", "copy"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes(encoded("red"))
        sets.append(load_originals(settings(tmp_path / name), context())[1])
    assert sets[0].model_dump(exclude={"source"}) == sets[1].model_dump(exclude={"source"})


def test_a_bucket_gives_the_pictures_under_a_prefix(context, tmp_path, monkeypatch):
    with BucketServer(tmp_path / "bucket") as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        store = server.store()
        store.put_bytes("set/photos/b.png", encoded("red"))
        store.put_bytes("set/photos/a.jpg", encoded("blue", kind="JPEG"))
        store.put_bytes("set/photos/below/c.png", encoded("lime"))
        store.put_bytes("set/photos/readme.md", b"text")
        store.put_bytes("set/photos-2/d.png", encoded("lime"))
        at = context(endpoint=server.endpoint)
        found, prompts = load_originals(settings("s3://uae/set/photos"), at)
        assert [original.image_id for original in found] == ["a", "b"]
        assert np.array_equal(found[1].picture()[0, 0], [255, 0, 0])
        assert (prompts.name, prompts.source) == ("pictures", "s3://uae/set/photos")
        with pytest.raises(EvaluationError, match="has no picture"):
            load_originals(settings("s3://uae/nothing"), at)
        with pytest.raises(StoreError, match="bucket does not exist"):
            load_originals(settings("s3://elsewhere/set"), at)
    with pytest.raises(EvaluationError, match="give the store's endpoint"):
        load_originals(settings("s3://uae/set/photos"), context())


def test_equal_pictures_make_an_equal_set_wherever_they_are(context, data, tmp_path):
    rows = (data / "heldout" / "captions.jsonl").read_text().splitlines()[:2]
    for row in map(json.loads, rows):
        picture = (data / "heldout" / row["image"]).read_bytes()
        (tmp_path / f"{row['image_id']}.png").write_bytes(picture)
    here = load_originals(settings("heldout", 2), context())[1]
    there = load_originals(settings(tmp_path), context())[1]
    assert here.sha256 == there.sha256
