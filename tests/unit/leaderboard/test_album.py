import base64
from io import BytesIO

import numpy as np
from PIL import Image

from uae.leaderboard.pictures import LONGEST_SIDE, MAX_BYTES, Album


def save(path, size, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def decoded(picture):
    return Image.open(BytesIO(base64.b64decode(picture.uri.partition(",")[2])))


def test_large_pictures_become_small_and_remember_their_size(tmp_path):
    save(tmp_path / "a.png", (600, 300))
    album = Album()
    assert album.add(tmp_path, "a.png") == 0
    (picture,) = album.pictures
    assert (picture.width, picture.height) == (600, 300)
    shown = decoded(picture)
    assert max(shown.size) <= LONGEST_SIDE
    assert abs(shown.width / shown.height - 2) < 0.05
    assert len(picture.uri) < MAX_BYTES * 4 / 3 + 100
    assert album.num_bytes == len(picture.uri)


def test_small_pictures_stay_as_they_are(tmp_path):
    Image.new("RGB", (32, 32), "crimson").save(tmp_path / "a.png")
    album = Album()
    album.add(tmp_path, "a.png")
    shown = np.array(decoded(album.pictures[0]).convert("RGB"))
    assert np.array_equal(shown, np.array(Image.open(tmp_path / "a.png")))


def test_one_picture_in_many_places_is_held_once(tmp_path):
    save(tmp_path / "a.png", (40, 40))
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes())
    save(tmp_path / "c.png", (40, 40), seed=1)
    album = Album()
    assert [album.add(tmp_path, f"{name}.png") for name in "abc"] == [0, 0, 1]
    assert len(album.pictures) == 2


def test_what_cannot_be_shown_is_told(tmp_path):
    folder = tmp_path / "result"
    folder.mkdir()
    save(tmp_path / "secret.png", (40, 40))
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "text.png").write_text("no picture")
    album = Album()
    assert "outside" in album.add(folder, "../secret.png")
    assert "outside" in album.add(folder, str(tmp_path / "secret.png"))
    assert "outside" in album.add(folder, "link.png")
    assert "no picture" in album.add(folder, "text.png")
    assert "is not there" in album.add(folder, "absent.png")
    assert album.pictures == []
