import base64
from io import BytesIO

import numpy as np
from PIL import Image

from uae.report.pictures import data_uri


def decoded(uri):
    return Image.open(BytesIO(base64.b64decode(uri.removeprefix("data:image/webp;base64,"))))


def noise(side):
    return np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)


def test_small_pictures_are_embedded_to_the_bit(tmp_path):
    Image.fromarray(noise(64)).save(tmp_path / "a.png")
    assert np.array_equal(np.asarray(decoded(data_uri(tmp_path / "a.png"))), noise(64))


def test_large_pictures_are_made_small(tmp_path):
    # The worst case, noise: 12 samples x 5 pictures stay far below 5 MB.
    Image.fromarray(noise(1024)).save(tmp_path / "a.png")
    uri = data_uri(tmp_path / "a.png")
    assert decoded(uri).size == (224, 224)
    assert 60 * len(uri) < 4_000_000
