import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import uae
from uae.errors import DataError, ModelError
from uae.models.tiny import tiny_bundle


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return uae.load(tiny_bundle(tmp_path_factory.mktemp("inference") / "bundle"))


@pytest.fixture
def picture():
    values = np.random.default_rng(0).integers(0, 256, (48, 80, 3), dtype=np.uint8)
    return Image.fromarray(values)


def test_import_does_not_load_torch():
    code = "import sys, uae; sys.exit('torch' in sys.modules or 'pydantic' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_three_methods_take_pil_images(model, picture):
    captions = model.caption([picture, picture.convert("L")], max_new_tokens=4)
    assert [type(caption) for caption in captions] == [str, str]
    (drawn,) = model.generate("a red apple", num_steps=2)
    assert (drawn.size, drawn.mode) == ((32, 32), "RGB")
    (again,) = model.reconstruct(picture, num_steps=2)
    assert isinstance(again.caption, str)
    assert again.image.size == (32, 32)


def test_seed_decides_the_picture(model):
    first, second, other = (
        np.asarray(model.generate("a cat", seed=seed, num_steps=2)[0]) for seed in (0, 0, 1)
    )
    assert (first == second).all()
    assert (first != other).any()


def test_tensors_of_the_model_s_size_are_taken_as_they_are(model):
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(model._pixels(images), images)
    assert len(model.caption(images, max_new_tokens=3)) == 2


def test_other_tensors_are_cropped_and_resized_as_pictures_are(model, picture):
    tensor = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None] / 255
    assert torch.equal(model._pixels(tensor), model._pixels(picture))
    assert torch.equal(model._pixels(tensor.double()), model._pixels(picture))


@pytest.mark.parametrize(
    ("tensor", "says"),
    [
        (torch.zeros(3, 32, 32), r"is \(B, 3, H, W\) .*got \(3, 32, 32\)"),
        (torch.zeros(1, 32, 32, 3), r"got \(1, 32, 32, 3\)"),
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), r"floats .* of torch\.uint8"),
        (torch.full((1, 3, 32, 32), 200.0), "values from 200 to 200"),
        (torch.full((1, 3, 32, 32), -0.1), "values from -0.1"),
        (torch.full((1, 3, 32, 32), torch.nan), "values from nan"),
        (torch.zeros(0, 3, 32, 32), "no picture"),
    ],
    ids=["one", "last", "bytes", "large", "negative", "nan", "none"],
)
def test_other_tensors_than_pictures_are_refused(model, tensor, says):
    for method in (model.caption, model.reconstruct):
        with pytest.raises(ModelError, match=says):
            method(tensor)


def test_pictures_are_turned_as_their_exif_says(model, picture, tmp_path):
    odd = b"Exif\0\0II*\0\x08\0\0\0\x02\0"  # orientation 6, and a resolution that is a text
    odd += b"\x12\x01\x03\0\x01\0\0\0\x06\0\0\0" + b"\x1a\x01\x02\0\x03\0\0\x0072\0\0" + bytes(4)
    picture.save(tmp_path / "lying.jpg", exif=odd, quality=95)
    picture.save(tmp_path / "plain.jpg", quality=95)
    lying, plain = (Image.open(tmp_path / f"{name}.jpg") for name in ("lying", "plain"))
    upright = plain.transpose(Image.Transpose.ROTATE_270)
    assert torch.equal(model._pixels(lying), model._pixels(upright))


def test_a_broken_picture_is_named(model, picture, tmp_path):
    path = tmp_path / "cut.png"
    picture.save(path)
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(DataError, match=r"picture .*cut\.png: broken or truncated"):
        model.caption([picture, Image.open(path)])


def test_nothing_to_do_is_an_error(model):
    with pytest.raises(ModelError, match="no picture"):
        model.caption([])
    with pytest.raises(ModelError, match="no text"):
        model.generate([])


@pytest.mark.parametrize(
    ("images", "says"),
    [
        ("cat.png", "str 'cat.png' is no picture"),
        (Path("cat.png"), r"PosixPath PosixPath\('cat.png'\) is no picture"),
        (np.zeros((32, 32, 3), np.uint8), r"ndarray of shape \(32, 32, 3\) is no picture"),
        (["cat.png"], "picture 1 of 1: str 'cat.png' is no picture"),
        (5, "int 5 is no picture"),
        (None, "NoneType None is no picture"),
    ],
    ids=["str", "path", "array", "list", "int", "none"],
)
def test_what_is_no_picture_is_refused(model, images, says):
    for method in (model.caption, model.reconstruct):
        with pytest.raises(ModelError, match=rf"{says}.*PIL\.Image\.open\(path\).*\(B, 3, H, W\)"):
            method(images)


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (5, "int 5 is no text: give a string, or a list"),
        (b"a cat", "bytes b'a cat' is no text"),
        (["a cat", None], "text 2 of 2: NoneType None is no text"),
    ],
)
def test_what_is_no_text_is_refused(model, texts, says):
    with pytest.raises(ModelError, match=says):
        model.generate(texts)


def test_too_long_a_text_is_an_error(model):
    with pytest.raises(ModelError, match="too long"):
        model.generate("apple " * 50)


def test_a_folder_that_is_no_model_is_an_error(tmp_path):
    with pytest.raises(ModelError, match="is not a model bundle"):
        uae.load(tmp_path)
