import dataclasses
import json

import pytest
import torch

from uae.errors import ModelError
from uae.models.image_processor import ImageProcessor

PLAIN = ImageProcessor(2, 2, 2, 16, 1024, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_patches_come_in_merge_order_with_the_frame_repeated():
    # One channel value per pixel, so that a patch can be recognised by its pixels.
    picture = torch.arange(64.0).reshape(1, 1, 8, 8).expand(1, 3, 8, 8) / 100
    patches, grid = PLAIN.patches(picture)
    assert grid.tolist() == [[1, 4, 4]]
    pixels = patches.reshape(16, 3, 2, 2, 2)  # patch, channel, frame, row, column
    assert torch.equal(pixels[:, :, 0], pixels[:, :, 1])
    corners = ((pixels[:, 0, 0, 0, 0] / 2 + 0.5) * 100).round().int().tolist()
    # The four patches that are merged into one token are neighbours: a square of 2 x 2.
    assert corners[:8] == [0, 2, 16, 18, 4, 6, 20, 22]


def test_normalisation():
    patches, _ = dataclasses.replace(PLAIN, image_mean=(0.2, 0.2, 0.2)).patches(
        torch.full((1, 3, 8, 8), 0.7)
    )
    torch.testing.assert_close(patches, torch.ones_like(patches))


@pytest.mark.parametrize(
    ("size", "grid"),
    [((32, 32), (16, 16)), ((64, 64), (16, 16)), ((64, 32), (22, 10)), ((2, 2), (2, 2))],
)
def test_area_stays_within_the_limits(size, grid):
    assert PLAIN.grid(*size) == grid


def test_too_narrow_a_picture_is_refused():
    with pytest.raises(ModelError, match="1000 x 4 pixels is too narrow"):
        PLAIN.grid(4, 1000)


def test_files_round_trip_and_old_names_are_read(tmp_path):
    PLAIN.save(tmp_path)
    assert ImageProcessor.load(tmp_path) == PLAIN
    path = tmp_path / "preprocessor_config.json"
    config = json.loads(path.read_text()) | {"max_pixels": 256}
    path.write_text(json.dumps(config))
    assert ImageProcessor.load(tmp_path).max_pixels == 256
    del config["patch_size"]
    path.write_text(json.dumps(config))
    with pytest.raises(ModelError, match="lacks patch_size"):
        ImageProcessor.load(tmp_path)
