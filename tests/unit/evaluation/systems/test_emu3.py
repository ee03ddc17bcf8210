import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers.models.emu3.modeling_emu3 import Emu3ForConditionalGeneration
from transformers.models.emu3.processing_emu3 import Emu3Processor

from uae.errors import EvaluationError, ModelError
from uae.evaluation.systems.base import CaptionRequest, Failure, PictureRequest
from uae.evaluation.systems.emu3 import NEGATIVE_PROMPT, Emu3System
from uae.evaluation.systems.tiny_native import tiny_emu3, tiny_janus
from uae.fingerprints import folder_sha256
from uae.recipe import Emu3SystemRecipe
from uae.seeds import derive_seed

PROMPT = "Describe this image."
SIDE = 24  # pixels: 3 x 3 tokens
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_emu3(tmp_path_factory.mktemp("emu3"))


@pytest.fixture(scope="module")
def other_folder(tmp_path_factory):
    return tiny_emu3(tmp_path_factory.mktemp("emu3-gen"), seed=1)


@pytest.fixture(scope="module")
def plain(folder):
    """The same weights, read without our code."""
    return Emu3ForConditionalGeneration.from_pretrained(folder), Emu3Processor.from_pretrained(
        folder
    )


def make(chat, generation=None, **changes):
    captioning = {
        "prompt": PROMPT,
        "max_new_tokens": changes.pop("max_new_tokens", 12),
        "temperature": changes.pop("temperature", 0.0),
    }
    settings = {
        "kind": "emu3",
        "name": "Tiny Emu3",
        "chat_path": str(chat),
        "generation_path": str(generation or chat),
        "dtype": "float32",
        "captioning": captioning,
        "guidance_scale": 3.0,
        "image_size": SIDE,
        "top_k": 5,
    }
    return Emu3System(Emu3SystemRecipe(**settings | changes), CPU)


@pytest.fixture(scope="module")
def system(folder):
    return make(folder)


def pictures():
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    return [noise, np.full((32, 32, 3), 200, np.uint8)]


def asked(seed=0):
    return [CaptionRequest(picture, seed, f"b/{n}") for n, picture in enumerate(pictures())]


def wanted(*texts_and_seeds, overlong="error"):
    return [PictureRequest(text, seed, "b/0.png", overlong) for text, seed in texts_and_seeds]


def same(first, second):
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_greedy_captions_are_those_of_transformers(system, plain):
    model, processor = plain
    expected = []
    for picture in pictures():
        inputs = processor(
            images=[Image.fromarray(picture)],
            text=[f"You are a helpful assistant. USER: <image>{PROMPT} ASSISTANT:"],
            return_tensors="pt",
        )
        tokens = model.generate(**inputs, do_sample=False, max_new_tokens=12)
        new = tokens[0, inputs["input_ids"].shape[1] :]
        expected.append(processor.decode(new, skip_special_tokens=True).strip())
    captions = system.caption(asked())
    assert captions == expected
    assert captions[0] != captions[1]
    assert system.caption(asked(seed=9)) == captions
    assert system.caption(asked()[1:]) == captions[1:]


def documented_constraint(processor, height, width):
    """The constraint as transformers' page on Emu3 has it, in its own way of counting."""
    tokenizer = processor.tokenizer
    visual = [
        index for token, index in tokenizer.get_vocab().items() if token.startswith("<|visual")
    ]

    def allowed(_, tokens):
        start = (tokens == tokenizer.image_wrapper_token_id).nonzero()[0][0]
        offset = int(tokens.shape[0] - start)
        if offset == (width + 1) * height + 1:
            return [tokenizer.eof_token_id]
        if offset == (width + 1) * height + 2:
            return [tokenizer.eoi_token_id]
        if offset == (width + 1) * height + 3:
            return [tokenizer.eos_token_id]
        if offset % (width + 1) == 0:
            return [tokenizer.convert_tokens_to_ids("<|extra_200|>")]
        return visual

    return allowed


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
def test_a_picture_is_that_of_transformers(folder, plain, guidance_scale):
    model, processor = plain
    inputs, negative = (
        processor(
            text=[text],
            return_for_image_generation=True,
            image_area=SIDE * SIDE,
            return_tensors="pt",
        )
        for text in ("a cat", NEGATIVE_PROMPT)
    )
    ((height, width),) = inputs.pop("image_sizes")
    assert (height, width) == (3, 3)
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(3, "picture"))
        tokens = model.generate(
            **inputs,
            do_sample=True,
            top_k=5,
            max_new_tokens=100,
            guidance_scale=guidance_scale,
            negative_prompt_ids=negative["input_ids"],
            negative_prompt_attention_mask=negative["attention_mask"],
            prefix_allowed_tokens_fn=documented_constraint(processor, height, width),
        )
    new = tokens[:, inputs["input_ids"].shape[1] :]
    assert new.shape[1] == 3 * 4 + 3
    decoded = model.decode_image_tokens(image_tokens=new, height=height, width=width)
    shown = processor.postprocess(list(decoded.float()), return_tensors="PIL.Image.Image")
    (picture,) = make(folder, guidance_scale=guidance_scale).generate(wanted(("a cat", 3)))
    assert picture.shape == (SIDE, SIDE, 3)
    assert np.array_equal(picture, np.array(shown["pixel_values"][0]))


def test_a_picture_depends_on_its_own_text_and_seed_only(system):
    batch = wanted(("a cat", 1), ("a much longer text about a red dog", 2), ("a cat", 2))
    together = system.generate(batch)
    alone = [picture for request in reversed(batch) for picture in system.generate([request])]
    assert same(together, alone[::-1])
    assert not np.array_equal(together[0], together[2])  # another seed
    assert not np.array_equal(together[1], together[2])  # another text


def test_one_folder_writes_and_another_paints(folder, other_folder):
    system = make(folder, other_folder)
    assert system.caption(asked()) == make(folder).caption(asked())
    assert system.caption(asked()) != make(other_folder).caption(asked())
    painted = system.generate(wanted(("a cat", 1)))
    assert same(painted, make(other_folder).generate(wanted(("a cat", 1))))
    assert not same(painted, make(folder).generate(wanted(("a cat", 1))))
    assert system.identity["sha256"] != make(other_folder, folder).identity["sha256"]


def test_one_folder_is_read_once(system):
    assert system.chat is system.generation


def test_the_random_state_is_as_before(folder):
    system = make(folder, temperature=1.0)
    state = torch.get_rng_state()
    captions = system.caption(asked(seed=1))
    assert system.caption(asked(seed=2)) != captions
    system.generate(wanted(("a cat", 1)))
    assert torch.equal(torch.get_rng_state(), state)


def test_an_overlong_text_is_missing_alone_or_cut(system):
    long = "a red cat " * 200
    before, failed, after = system.generate(wanted(("a cat", 1), (long, 0), ("a dog", 2)))
    assert isinstance(failed, Failure)
    assert re.fullmatch(r"the text is cut: \d+ of \d+ tokens have room .*", failed.reason)
    alone = system.generate(wanted(("a cat", 1), ("a dog", 2)))
    assert np.array_equal(np.stack([before, after]), np.stack(alone))
    (picture,) = system.generate(wanted((long, 0), overlong="truncate"))
    assert picture.shape == (SIDE, SIDE, 3)


def test_a_picture_too_large_for_any_text_is_an_error(folder):
    # 24 rows of 24 tokens and a row's end are 600 tokens; the model was made for 512.
    with pytest.raises(EvaluationError, match="no room for a text beside a picture"):
        make(folder, image_size=192).generate(wanted(("a cat", 0), overlong="truncate"))


def test_a_caption_that_the_model_cannot_hold_is_an_error(folder):
    with pytest.raises(EvaluationError, match="caption up to 600, but the model was made for 512"):
        make(folder, max_new_tokens=600).caption(asked())


def test_identity_and_settings(folder):
    system = make(folder)
    assert system.identity["kind"] == "emu3"
    assert len(system.identity["sha256"]) == 64
    assert system.capabilities == (True, True)
    assert system.settings["negative_prompt"] == NEGATIVE_PROMPT
    assert system.settings["image_size"] == SIDE
    assert not any("path" in name for name in system.settings)


def test_weights_are_let_go_of_and_read_again(folder):
    system = make(folder)
    before, model = system.caption(asked()), system.chat.model
    system.close()
    assert system.chat.model is not model
    assert system.caption(asked()) == before


def test_half_precision_writes_and_paints(folder):
    system = make(folder, dtype="bfloat16")
    assert system.generation.model.dtype == torch.bfloat16
    assert len(system.caption(asked())) == 2
    assert system.generate(wanted(("a cat", 1)))[0].dtype == np.uint8


def test_another_architecture_is_refused_by_name(folder, tmp_path):
    janus = tiny_janus(tmp_path)
    for chat, generation in ((janus, folder), (folder, janus)):
        with pytest.raises(ModelError, match="type 'janus', not 'emu3'"):
            make(chat, generation)


def test_a_missing_folder_is_refused(folder, tmp_path):
    with pytest.raises(ModelError, match=r"no emu3 weights at .*nowhere"):
        make(folder, tmp_path / "nowhere")


def test_a_size_that_is_no_whole_number_of_tokens_is_refused(folder):
    with pytest.raises(EvaluationError, match="image_size is 30; Emu3 paints multiples of 8"):
        make(folder, image_size=30)


def test_a_picture_that_is_not_finite_is_an_error(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "broken")
    tensors = load_file(copy / "model.safetensors")
    tensors["vqmodel.decoder.conv_out.bias"][0] = float("nan")
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EvaluationError, match=r"b/0\.png: the picture holds NaN or infinity"):
        make(copy).generate(wanted(("a cat", 1)))


def test_tiny_weights_are_the_same_for_a_seed(folder, other_folder, tmp_path):
    assert folder_sha256(tiny_emu3(tmp_path)) == folder_sha256(folder)
    assert folder_sha256(other_folder) != folder_sha256(folder)
