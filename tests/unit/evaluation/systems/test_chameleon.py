import numpy as np
import pytest
import torch
from PIL import Image
from transformers.models.chameleon.modeling_chameleon import ChameleonForConditionalGeneration
from transformers.models.chameleon.processing_chameleon import ChameleonProcessor

from uae.errors import EvaluationError, ModelError
from uae.evaluation.systems.base import CaptionRequest, PictureRequest
from uae.evaluation.systems.chameleon import ChameleonSystem
from uae.evaluation.systems.requirements import require
from uae.evaluation.systems.tiny_native import tiny_chameleon, tiny_emu3
from uae.fingerprints import folder_sha256
from uae.recipe import ChameleonSystemRecipe

PROMPT = "Describe this image."


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_chameleon(tmp_path_factory.mktemp("chameleon"))


def make(folder, *, temperature=0.0, max_new_tokens=12, dtype="float32"):
    captioning = {
        "prompt": PROMPT,
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
    }
    recipe = ChameleonSystemRecipe(
        kind="chameleon",
        name="Tiny Chameleon",
        path=str(folder),
        dtype=dtype,
        captioning=captioning,
    )
    return ChameleonSystem(recipe, torch.device("cpu"))


@pytest.fixture(scope="module")
def system(folder):
    return make(folder)


def pictures():
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    return [noise, np.full((32, 32, 3), 200, np.uint8)]


def asked(seed=0):
    return [CaptionRequest(picture, seed, f"b/{n}") for n, picture in enumerate(pictures())]


def test_greedy_captions_are_those_of_transformers(system, folder):
    model = ChameleonForConditionalGeneration.from_pretrained(folder)
    processor = ChameleonProcessor.from_pretrained(folder)
    expected = []
    for picture in pictures():
        inputs = processor(
            images=Image.fromarray(picture), text=f"{PROMPT}<image>", return_tensors="pt"
        )
        tokens = model.generate(**inputs, do_sample=False, max_new_tokens=12)
        new = tokens[0, inputs["input_ids"].shape[1] :]
        expected.append(processor.decode(new, skip_special_tokens=True).strip())
    captions = system.caption(asked())
    assert captions == expected
    assert captions[0] != captions[1]
    assert system.caption(asked(seed=9)) == captions
    assert system.caption(asked()[1:]) == captions[1:]


def test_sampled_captions_depend_on_their_seed_and_leave_the_random_state(folder):
    system = make(folder, temperature=1.0)
    state = torch.get_rng_state()
    captions = system.caption(asked(seed=1))
    assert system.caption(asked(seed=1)[1:]) == captions[1:]
    assert system.caption(asked(seed=2)) != captions
    assert torch.equal(torch.get_rng_state(), state)


def test_pictures_are_refused_before_and_when_asked_for(system):
    assert system.capabilities == (True, False)
    with pytest.raises(EvaluationError, match="paint pictures: 'Tiny Chameleon' cannot"):
        require(system, "unified_bench", captions=True, pictures=True)
    with pytest.raises(EvaluationError, match="have no picture decoder"):
        system.generate([PictureRequest("a cat", 0, "b/0.png")])


def test_a_caption_that_the_model_cannot_hold_is_an_error(folder):
    with pytest.raises(EvaluationError, match="caption up to 600, but the model was made for 512"):
        make(folder, max_new_tokens=600).caption(asked())


def test_identity_and_settings(folder, system):
    assert system.identity == {
        "name": "Tiny Chameleon",
        "kind": "chameleon",
        "sha256": folder_sha256(folder),
    }
    assert system.settings == {
        "dtype": "float32",
        "captioning": {"prompt": PROMPT, "max_new_tokens": 12, "temperature": 0.0},
    }


def test_weights_are_let_go_of_and_read_again(folder):
    system = make(folder, dtype="bfloat16")
    before, model = system.caption(asked()), system.native.model
    assert model.dtype == torch.bfloat16
    system.close()
    assert system.native.model is not model
    assert system.caption(asked()) == before


def test_another_architecture_is_refused_by_name(tmp_path):
    with pytest.raises(ModelError, match="type 'emu3', not 'chameleon'"):
        make(tiny_emu3(tmp_path))


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"no chameleon weights at .*nowhere"):
        make(tmp_path / "nowhere")


def test_tiny_weights_are_the_same_for_a_seed(folder, tmp_path):
    assert folder_sha256(tiny_chameleon(tmp_path / "same")) == folder_sha256(folder)
    assert folder_sha256(tiny_chameleon(tmp_path / "other", seed=1)) != folder_sha256(folder)
