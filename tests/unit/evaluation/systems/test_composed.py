import re
import shutil

import numpy as np
import pytest
import torch
from diffusers import SanaPipeline
from PIL import Image
from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

from uae.errors import EvaluationError, ModelError
from uae.evaluation.systems.base import Capabilities, CaptionRequest, Failure, PictureRequest
from uae.evaluation.systems.composed import ComposedSystem
from uae.evaluation.systems.loading import load_system
from uae.evaluation.systems.tiny_composed import (
    tiny_blip,
    tiny_qwen_image,
    tiny_sana,
    tiny_vlm,
)
from uae.fingerprints import folder_sha256
from uae.recipe.systems import CaptioningRecipe, ComposedSystemRecipe
from uae.seeds import derive_seed

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("composed")
    return {"captioner": str(tiny_vlm(root / "vlm")), "painter": str(tiny_sana(root / "sana"))}


@pytest.fixture(scope="module")
def recipe(folders):
    def make(**changes):
        captioning = {"prompt": "Describe it.", "max_new_tokens": 8, "temperature": 0.0}
        captioning |= changes.pop("captioning", {})
        fields = {"kind": "composed", "name": "Q + S", **folders, "dtype": "float32"}
        fields |= {"num_steps": 2, "guidance_scale": 4.5, "image_size": 32}
        fields |= {"captioning": CaptioningRecipe(**captioning)}
        return ComposedSystemRecipe(**(fields | changes))

    return make


@pytest.fixture(scope="module")
def system(recipe):
    return ComposedSystem(recipe(), CPU)


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((32, 32), (20, 40))]


def asked(picture, seed=0):
    return CaptionRequest(picture, seed, "unified_bench/a")


def wanted(text, seed=0, overlong="error"):
    return PictureRequest(text, seed, "geneval/00000/samples/0000.png", overlong)


def test_a_caption_is_what_the_plain_class_writes(system, pictures, folders):
    processor = AutoProcessor.from_pretrained(folders["captioner"])
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folders["captioner"])
    captions = system.caption([asked(picture) for picture in pictures])
    for picture, caption in zip(pictures, captions, strict=True):
        image = {"type": "image", "image": Image.fromarray(picture)}
        turn = {"role": "user", "content": [image, {"type": "text", "text": "Describe it."}]}
        inputs = processor.apply_chat_template(
            [turn], add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )
        ids = model.generate(**inputs, max_new_tokens=8, do_sample=False)
        new = ids[:, inputs["input_ids"].shape[1] :]
        assert caption == processor.decode(new[0], skip_special_tokens=True).strip()
    assert captions[0] != captions[1]


def test_drawn_captions_depend_on_their_own_picture_and_seed(recipe, pictures):
    system = ComposedSystem(recipe(captioning={"temperature": 1.0}), CPU)
    together = system.caption([asked(pictures[0], 1), asked(pictures[1], 2)])
    assert system.caption([asked(pictures[1], 2)]) == together[1:]
    assert system.caption([asked(pictures[1], 3)]) != together[1:]


def test_a_picture_is_what_the_plain_pipeline_paints(system, folders):
    pipeline = SanaPipeline.from_pretrained(folders["painter"], dtype=torch.float32)
    plain = pipeline(
        prompt="a red cat",
        generator=torch.Generator().manual_seed(derive_seed(5, "noise")),
        height=32,
        width=32,
        num_inference_steps=2,
        guidance_scale=4.5,
        use_resolution_binning=False,
        output_type="np",
    ).images[0]
    (painted,) = system.generate([wanted("a red cat", seed=5)])
    assert np.abs(painted - 255 * plain).max() < 0.51  # rounding to 8 bit
    assert painted.std() > 10


def test_an_overlong_text_is_missing_alone(system):
    before, failed, after = system.generate([wanted(text) for text in ("a", "a " * 900, "b")])
    assert isinstance(failed, Failure)
    assert re.fullmatch(r"the text is cut: \d+ of \d+ tokens are read", failed.reason)
    assert np.array_equal(np.stack([before, after]), system.generate([wanted("a"), wanted("b")]))


def test_captions_become_pictures(system, pictures):
    captions = system.caption([asked(picture) for picture in pictures])
    painted = system.generate([wanted(caption, overlong="truncate") for caption in captions])
    assert [picture.shape for picture in painted] == [(32, 32, 3)] * 2


def test_identity_holds_both_models_and_settings_what_decides_the_output(recipe, folders, tmp_path):
    system = load_system(recipe(), CPU)
    assert isinstance(system, ComposedSystem)
    assert system.identity["name"] == "Q + S"
    assert system.identity["kind"] == "composed"
    assert system.identity["pipeline"] == "SanaPipeline"
    assert {len(system.identity[key]) for key in ("sha256", "captioner", "painter")} == {64}
    assert system.settings == {
        "dtype": "float32",
        "captioning": {"prompt": "Describe it.", "max_new_tokens": 8, "temperature": 0.0},
        "num_steps": 2,
        "guidance_scale": 4.5,
        "image_size": 32,
    }
    other = ComposedSystem(recipe(painter=str(tiny_sana(tmp_path, seed=1))), CPU)
    assert other.identity["captioner"] == system.identity["captioner"]
    assert other.identity["sha256"] != system.identity["sha256"]


def test_half_a_system_says_so(recipe, pictures):
    painter = ComposedSystem(recipe(captioner=None), CPU)
    assert painter.capabilities == Capabilities(captions=False, pictures=True)
    assert "captioner" not in painter.identity
    assert "captioning" not in painter.settings
    with pytest.raises(ModelError, match="no captioner"):
        painter.caption([asked(pictures[0])])

    writer = ComposedSystem(recipe(painter=None), CPU)
    assert writer.capabilities == Capabilities(captions=True, pictures=False)
    assert set(writer.settings) == {"dtype", "captioning"}
    with pytest.raises(ModelError, match="no painter"):
        writer.generate([wanted("a cat")])

    with pytest.raises(ModelError, match="a captioner, a painter, or both"):
        ComposedSystem(recipe(captioner=None, painter=None), CPU)


def test_missing_folders_are_refused_before_anything_is_loaded(recipe, tmp_path):
    with pytest.raises(ModelError, match=r"no config\.json"):
        ComposedSystem(recipe(captioner=str(tmp_path / "absent")), CPU)
    with pytest.raises(ModelError, match=r"no model_index\.json"):
        ComposedSystem(recipe(painter=str(tmp_path / "absent")), CPU)


def test_weights_are_let_go_and_read_again(recipe, folders, tmp_path):
    painter = shutil.copytree(folders["painter"], tmp_path / "painter")
    system = ComposedSystem(recipe(painter=str(painter)), CPU)
    (before,) = system.generate([wanted("a cat")])
    shutil.move(painter, tmp_path / "moved")
    system.generate([wanted("a cat")])  # still in memory
    system.close()
    with pytest.raises(ModelError, match="no pipeline"):
        system.generate([wanted("a cat")])
    shutil.move(tmp_path / "moved", painter)
    assert np.array_equal(before, system.generate([wanted("a cat")])[0])


@pytest.mark.parametrize("write", [tiny_vlm, tiny_sana, tiny_blip, tiny_qwen_image])
def test_tiny_models_are_made_by_their_seed(write, tmp_path):
    torch.manual_seed(1)
    one, same, other = (
        folder_sha256(write(tmp_path / str(number), seed=seed))
        for number, seed in enumerate((0, 0, 1))
    )
    assert one == same != other


def test_nothing_is_printed(recipe, pictures, capfd):
    system = ComposedSystem(recipe(), CPU)
    system.generate([wanted("a cat")])
    system.caption([asked(pictures[0])])
    assert capfd.readouterr() == ("", "")


def test_a_broken_captioner_is_an_error_not_a_caption(recipe, folders, pictures, tmp_path):
    folder = shutil.copytree(folders["captioner"], tmp_path / "pickled")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="cannot be loaded"):
        ComposedSystem(recipe(captioner=str(folder)), CPU).caption([asked(pictures[0])])
    with pytest.raises(EvaluationError, match="refuses"):
        ComposedSystem(recipe(image_size=40), CPU).generate([wanted("a cat")])
