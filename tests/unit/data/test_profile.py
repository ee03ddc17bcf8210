import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from uae.data.profile import count_control_characters, profile_samples
from uae.data.sample import FileSlice, Sample


def profile(image, recipe, caption="a red cat"):
    sample = Sample("a", caption, "test", "MIT", None, None, image)
    return next(profile_samples([sample], recipe.data))


def test_control_characters_but_not_line_breaks():
    assert count_control_characters("a\nb\tc\r\n") == 0
    assert count_control_characters("a\0b\x1b[31m\x7f\x85") == 4
    assert count_control_characters("👩‍👩‍👧 \u200f") == 0


def test_profile_of_a_good_image(png, recipe):
    data = png(3)
    measured, image = profile(data, recipe)
    assert (measured.format, measured.mode, measured.num_frames) == ("PNG", "RGB", 1)
    assert (measured.min_side, measured.max_side) == (48, 48)
    assert measured.sha256 == hashlib.sha256(data).hexdigest()
    assert measured.file_bytes == len(data)
    assert (measured.caption_words, measured.caption_characters) == (3, 9)
    assert len(measured.perceptual_hash) == 16
    assert measured.image_fault == ""
    assert image.size == (48, 48)


@pytest.mark.parametrize("name", ["PNG", "WEBP"])
def test_frames_of_an_animation_are_counted(recipe, name):
    frames = [Image.new("RGB", (48, 48), color) for color in ("red", "green", "blue")]
    file = io.BytesIO()
    frames[0].save(file, name, save_all=True, append_images=frames[1:])
    assert profile(file.getvalue(), recipe)[0].num_frames == 3


def test_phone_jpeg_with_a_second_picture_is_no_animation(recipe):
    file = io.BytesIO()
    Image.new("RGB", (48, 48)).save(
        file, "MPO", save_all=True, append_images=[Image.new("RGB", (9, 9))]
    )
    measured, _ = profile(file.getvalue(), recipe)
    assert (measured.format, measured.num_frames) == ("JPEG", 1)


def test_too_wide_image_is_measured_and_not_decoded(encode_image, recipe):
    limits = recipe.model_copy(
        update={"data": recipe.data.model_copy(update={"max_side_pixels": 100})}
    )
    measured, image = profile(encode_image(Image.new("RGB", (101, 40))), limits)
    assert (measured.max_side, measured.image_fault, image) == (101, "", None)


def test_too_large_file_is_not_read(recipe, tmp_path):
    sample = Sample("a", "c", "s", "MIT", None, None, FileSlice(tmp_path / "gone", 0, 10**12))
    measured, image = next(profile_samples([sample], recipe.data))
    assert (measured.file_bytes, measured.sha256, image) == (10**12, None, None)


def test_file_that_is_gone_is_a_fault_of_its_picture(recipe, tmp_path):
    measured, image = profile(FileSlice(tmp_path / "gone", 0, 10), recipe)
    assert (measured.image_id, image) == ("a", None)
    assert "cannot read" in measured.image_fault


def test_chinese_characters_are_words(png, recipe):
    assert profile(png(3), recipe, caption="两只猫。")[0].caption_words == 3


def test_resaved_image_keeps_its_perceptual_hash(encode_image, recipe):
    noise = np.random.default_rng(0).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((64, 64), Image.Resampling.BICUBIC)
    first, _ = profile(encode_image(image), recipe)
    second, _ = profile(encode_image(image, "JPEG", quality=95), recipe)
    assert first.perceptual_hash == second.perceptual_hash
    assert first.sha256 != second.sha256
