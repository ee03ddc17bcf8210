import copy
import json

import numpy as np
import pytest

from uae.data.dataset import load_dataset
from uae.errors import DataError

FACTS = {
    "objects": [
        {"class": "cat", "color": "red", "size": "small", "place": "left", "box": [0, 0, 9, 9]}
    ],
    "background": "blue",
    "word": None,
}


def rewrite(folder, number, **changes):
    row = {**json.loads(folder.rows[number]), **changes}
    folder.rows[number] = json.dumps({k: v for k, v in row.items() if v != "remove"})
    folder.add_line("")


def test_folder_reads_in_the_order_of_its_lines(folder):
    data = load_dataset(folder.path)
    assert data.image_ids == [f"good-{index}" for index in range(6)]
    assert data.captions[2] == "a blue square number 2"
    assert data[0].source == "drawn by the test"
    assert data[1:3].image_ids == ["good-1", "good-2"]
    assert data[0].split is None
    assert data[0].facts is None


def test_pixels_are_channels_first_in_0_to_1(folder):
    pixels = load_dataset(folder.path).pixels([0, 1], 16)
    assert pixels.shape == (2, 3, 16, 16)
    np.testing.assert_allclose(pixels[0, :, 8, 8], [0, 90 / 255, 200 / 255], atol=0.01)


def test_facts_are_parsed_and_written_back(folder):
    folder.add("scene", facts=FACTS, split="heldout")
    sample = load_dataset(folder.path)[-1]
    assert sample.facts.objects[0].name == "cat"
    assert sample.row()["facts"] == FACTS
    assert sample.row()["split"] == "heldout"


def test_revision_changes_with_the_data_and_only_with_it(folder, png):
    before = load_dataset(folder.path).revision
    (folder.path / "unrelated.txt").write_text("x")
    assert load_dataset(folder.path).revision == before
    (folder.path / "good-0.png").write_bytes(png(99))
    assert load_dataset(folder.path).revision != before


def test_other_scripts_and_emoji_pass_unchanged(folder):
    caption = "猫と犬 · кошка · قطة · 👩‍👩‍👧 café"
    folder.add("scripts", caption=caption)
    assert load_dataset(folder.path).captions[-1] == caption


def test_missing_folder(tmp_path):
    with pytest.raises(DataError, match="no data at"):
        load_dataset(tmp_path / "nowhere")


def test_empty_folder(tmp_path):
    with pytest.raises(DataError, match="is empty"):
        load_dataset(tmp_path)


def test_folder_without_captions(tmp_path, png):
    (tmp_path / "a.png").write_bytes(png(0))
    with pytest.raises(DataError, match=r"has no captions\.jsonl and no \.tar"):
        load_dataset(tmp_path)


def test_captions_without_rows(tmp_path):
    (tmp_path / "captions.jsonl").write_text("\n")
    with pytest.raises(DataError, match="no samples"):
        load_dataset(tmp_path)


def test_folder_with_both_formats(folder):
    (folder.path / "a.tar").write_bytes(b"")
    with pytest.raises(DataError, match="has both"):
        load_dataset(folder.path)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"image_id": "x", ', r"line 7: is one JSON object \(Expecting"),
        ('["x"]', r"line 7: is one JSON object \(got list"),
        ("[" * 100_000, "line 7: is one JSON object"),
    ],
    ids=["broken", "list", "nested"],
)
def test_broken_line_is_named_by_its_number(folder, line, says):
    folder.add_line(line)
    with pytest.raises(DataError, match=says):
        load_dataset(folder.path)


def test_line_that_is_not_utf8_is_named_by_its_number(folder):
    with (folder.path / "captions.jsonl").open("ab") as file:
        file.write(b'{"caption": "\xff"}\n')
    with pytest.raises(DataError, match=r"line 7: is one JSON object .'utf-8' codec"):
        load_dataset(folder.path)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"image": "../outside.png"}, "good-2: image path stays inside"),
        ({"image": "/etc/passwd"}, "good-2: image path stays inside"),
        ({"image": "a\\b.png"}, "good-2: image path stays inside"),
        ({"image": "a\0.png"}, "good-2: image path stays inside"),
        ({"image": "."}, "good-2: image path stays inside"),
        ({"image": "nowhere.png"}, "good-2: image file exists"),
        ({"image": "\ud800.png"}, "good-2: image is valid Unicode"),
        ({"image": "x" * 300}, "good-2: image file can be found .*File name too long"),
        ({"image": 7}, "good-2: image is a relative path"),
        ({"image": "remove"}, "good-2: image is a relative path"),
        ({"image_id": "a/b"}, "line 3: image_id is a plain name"),
        ({"image_id": "../b"}, "line 3: image_id is a plain name"),
        ({"image_id": "a.b"}, "line 3: image_id is a plain name"),
        ({"image_id": ""}, "line 3: image_id is a plain name"),
        ({"image_id": "x" * 81}, "line 3: image_id is a plain name"),
        ({"image_id": 3}, "line 3: image_id is a plain name"),
        ({"image_id": "good-1"}, "good-1: image_id is unique .stands 2 times"),
        ({"caption": "remove"}, "good-2: has every required key .missing caption"),
        ({"licence": "remove", "license": "MIT"}, "missing licence; unknown keys: license"),
        ({"width": 3}, "good-2: has no unknown key .unknown width"),
        ({"caption": None}, "good-2: caption is text"),
        ({"caption": "half \ud83d"}, "good-2: caption is valid Unicode"),
        ({"split": 3}, "good-2: split is text"),
        ({"facts": "cat"}, "good-2: facts are complete and nothing else .facts: must be an object"),
    ],
    ids=lambda value: next(iter(value.items())).__repr__()[:40] if isinstance(value, dict) else "",
)
def test_bad_row_is_named(folder, changes, says):
    rewrite(folder, 2, **changes)
    with pytest.raises(DataError, match=says):
        load_dataset(folder.path)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"class": 5}, "objects.0.class: .*string, got 5"),
        ({"color": None}, "objects.0.color: .*string, got None"),
        ({"box": [1, 2]}, r"objects.0.box: .*4 items.*, got \[1, 2\]"),
        ({"box": [0, 0, 9.5, True]}, r"objects.0.box.2: .*got 9.5; objects.0.box.3: .*got True"),
        ({"box": [9, 0, 3, 9]}, "objects.0.box: must be x0, y0, x1, y1 with x0 < x1"),
        ({"place": ...}, "objects.0.place is missing"),
        ({"colour": "red"}, "objects.0.colour is no key of facts"),
        ({"size": ""}, "objects.0.size: "),
        ({"class": "Cat"}, "objects.0.class: must be in lower case.*, got 'Cat'"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_wrong_facts_of_an_object_are_named_by_key(folder, changes, says):
    facts = copy.deepcopy(FACTS)
    facts["objects"][0] |= changes
    facts["objects"][0] = {k: v for k, v in facts["objects"][0].items() if v is not ...}
    rewrite(folder, 2, facts=facts)
    with pytest.raises(DataError, match=rf"good-2: facts are complete.*{says}"):
        load_dataset(folder.path)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"objects": {}}, "objects: .*list, got {}"),
        ({"background": ...}, "background is missing"),
        ({"word": ...}, "word is missing"),
        ({"word": "half \ud83d"}, "word: .*unicode"),
        ({"words": "SUN"}, "words is no key of facts"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_wrong_facts_of_a_scene_are_named_by_key(folder, changes, says):
    facts = {k: v for k, v in (FACTS | changes).items() if v is not ...}
    rewrite(folder, 2, facts=facts)
    with pytest.raises(DataError, match=rf"good-2: facts are complete.*{says}"):
        load_dataset(folder.path)


def test_key_that_stands_twice_is_named(folder):
    folder.add_line(folder.rows[0].replace('"caption": ', '"caption": "lost", "caption": '))
    with pytest.raises(DataError, match=r"line 7: is one JSON object .keys stand twice: caption"):
        load_dataset(folder.path)


def test_every_bad_row_is_named_at_once(folder):
    rewrite(folder, 1, image="gone.png")
    rewrite(folder, 4, caption=3)
    with pytest.raises(DataError, match=r"2 faults:\n.*good-1: .*\n.*good-4: "):
        load_dataset(folder.path)


def test_symbolic_links_are_refused(folder, tmp_path, png):
    secret = tmp_path / "secret.png"
    secret.write_bytes(png(50))
    (folder.path / "good-0.png").unlink()
    (folder.path / "good-0.png").symlink_to(secret)
    (folder.path / "linked").symlink_to(tmp_path)
    rewrite(folder, 1, image="linked/secret.png")
    with pytest.raises(DataError) as error:
        load_dataset(folder.path)
    assert str(error.value).count("has no symbolic link") == 2


def test_data_folder_itself_may_be_a_link(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder.path)
    assert len(load_dataset(tmp_path / "link")) == 6


def test_image_that_breaks_after_listing_is_named(folder):
    data = load_dataset(folder.path)
    (folder.path / "good-3.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"good-3.*shorter now"):
        data.image(3)
    (folder.path / "good-3.png").unlink()
    with pytest.raises(DataError, match="cannot read"):
        data.image(3)


def test_undecodable_image_is_named_by_its_id(folder):
    folder.add("text", b"just text")
    with pytest.raises(DataError, match="text: not a PNG"):
        load_dataset(folder.path).image(6)
