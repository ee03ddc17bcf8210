import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from uae.errors import ModelError
from uae.evaluation.geneval.colors import OFFICIAL_TEMPLATES, OUTSIDE, OpenClipColors, masked_crop
from uae.evaluation.geneval.rules import Detection

PICTURE = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
MASK = np.zeros((8, 8), dtype=np.bool_)
MASK[2:5, 3:6] = True
MASK[3, 4] = False


def test_outside_the_mask_is_gray_and_the_crop_is_the_box():
    crop = np.asarray(masked_crop(PICTURE, Detection("cat", 1.0, (3, 2, 6, 5), MASK)))
    assert crop.shape == (3, 3, 3)
    assert (crop[1, 1] == OUTSIDE).all()
    assert (crop[0, 0] == PICTURE[2, 3]).all()


def test_the_mask_is_applied_before_the_crop_as_in_the_published_script():
    inside = Image.fromarray(MASK)
    blank = Image.new("RGB", (8, 8), "#999")
    expected = Image.composite(Image.fromarray(PICTURE), blank, inside).crop((2, 1, 7, 6))
    crop = masked_crop(PICTURE, Detection("cat", 1.0, (2, 1, 7, 6), MASK))
    assert (np.asarray(crop) == np.asarray(expected)).all()


def test_without_a_mask_the_box_is_cut_out():
    crop = np.asarray(masked_crop(PICTURE, Detection("cat", 1.0, (3, 2, 6, 5))))
    assert (crop == PICTURE[2:5, 3:6]).all()


class FixedClip(torch.nn.Module):
    """Embeds a picture as its mean colour, and a text as the colour that it names."""

    def __init__(self):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def encode_image(self, images, normalize):
        assert normalize
        return torch.nn.functional.normalize(images.mean(dim=(2, 3)), dim=1)

    def encode_text(self, texts, normalize):
        assert normalize
        return torch.eye(3)[texts]


def test_the_nearest_color_text_wins_batch_after_batch():
    colors = OpenClipColors(
        FixedClip(),
        lambda image: torch.tensor(np.asarray(image.resize((2, 2)))).permute(2, 0, 1) / 255,
        lambda texts: torch.tensor([("red", "green", "blue").index(t.split()[0]) for t in texts]),
        colors=("red", "green", "blue"),
        templates=("{color} {name}", "{color} thing"),
        identity={},
        batch_size=2,
    )
    whole = Detection("cat", 1.0, (0, 0, 4, 4), np.ones((4, 4), dtype=np.bool_))
    pictures = [np.full((4, 4, 3), np.eye(3)[index] * 200, dtype=np.uint8) for index in (2, 0, 1)]
    found = colors.classify([(picture, whole) for picture in pictures])
    assert found == ["blue", "red", "green"]


def test_a_stored_model_classifies_with_its_own_tokenizer(weights):
    colors = OpenClipColors.load(
        weights / "scorers" / "clip",
        colors=("red", "blue"),
        templates=OFFICIAL_TEMPLATES,
        batch_size=4,
    )
    pictures = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    detection = Detection("cat", 1.0, (3, 2, 6, 5), MASK)
    found = colors.classify([(picture, detection) for picture in pictures])
    assert len(found) == 5
    assert set(found) <= {"red", "blue"}
    assert colors.classify([]) == []


def test_absent_classifier_is_named(tmp_path):
    with pytest.raises(ModelError, match="no colour classifier"):
        OpenClipColors.load(tmp_path, colors=("red",), templates=("{color}",), batch_size=1)


def test_pickled_weights_are_not_read(weights, tmp_path):
    folder = tmp_path / "clip"
    shutil.copytree(weights / "scorers" / "clip", folder)
    safe = folder / "open_clip_model.safetensors"
    torch.save(load_file(safe), folder / "open_clip_pytorch_model.bin")
    safe.unlink()
    with pytest.raises(ModelError, match=r"needs open_clip_model\.safetensors"):
        OpenClipColors.load(folder, colors=["red"], templates=["a {}"], batch_size=1)
