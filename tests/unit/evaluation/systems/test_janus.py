import random
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers.models.janus.modeling_janus import JanusForConditionalGeneration
from transformers.models.janus.processing_janus import JanusProcessor

from uae.errors import EvaluationError, ModelError
from uae.evaluation.systems.base import CaptionRequest, Failure, PictureRequest
from uae.evaluation.systems.janus import JanusSystem
from uae.evaluation.systems.tiny_native import IMAGE_SIZE, tiny_chameleon, tiny_janus
from uae.fingerprints import folder_sha256
from uae.recipe import JanusSystemRecipe
from uae.seeds import derive_seed

PROMPT = "Describe this image."
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_janus(tmp_path_factory.mktemp("janus"))


@pytest.fixture(scope="module")
def plain(folder):
    """The same weights, read without our code."""
    return JanusForConditionalGeneration.from_pretrained(folder), JanusProcessor.from_pretrained(
        folder
    )


def make(folder, *, temperature=0.0, max_new_tokens=12, dtype="float32", guidance_scale=5.0):
    captioning = {
        "prompt": PROMPT,
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
    }
    recipe = JanusSystemRecipe(
        kind="janus",
        name="Tiny Janus",
        path=str(folder),
        dtype=dtype,
        captioning=captioning,
        guidance_scale=guidance_scale,
        image_temperature=1.0,
    )
    return JanusSystem(recipe, CPU)


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
        content = [
            {"type": "image", "image": Image.fromarray(picture)},
            {"type": "text", "text": PROMPT},
        ]
        inputs = processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
        tokens = model.generate(
            **inputs, generation_mode="text", do_sample=False, max_new_tokens=12
        )
        new = tokens[0, inputs["input_ids"].shape[1] :]
        expected.append(processor.decode(new, skip_special_tokens=True).strip())
    captions = system.caption(asked())
    assert captions == expected
    assert captions[0] != captions[1]
    assert system.caption(asked(seed=9)) == captions
    assert system.caption(asked()[1:]) == captions[1:]


def test_sampled_captions_depend_on_their_seed_and_picture_only(folder):
    system = make(folder, temperature=1.0)
    captions = system.caption(asked(seed=1))
    assert system.caption(asked(seed=1)[1:]) == captions[1:]
    assert system.caption(asked(seed=2)) != captions


def test_a_picture_is_that_of_transformers(system, plain):
    model, processor = plain
    turn = [{"role": "user", "content": [{"type": "text", "text": "a cat"}]}]
    prompt = processor.apply_chat_template(turn, add_generation_prompt=True)
    inputs = processor(text=prompt, generation_mode="image", return_tensors="pt")
    boi = processor.tokenizer.convert_tokens_to_ids("<begin_of_image>")
    model.generation_config.generation_kwargs = {"boi_token_id": boi}
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(3, "picture"))
        tokens = model.generate(
            **inputs, generation_mode="image", do_sample=True, top_k=0, guidance_scale=5.0
        )
    decoded = model.decode_image_tokens(tokens)[0].detach().numpy()
    expected = np.clip((decoded + 1) / 2 * 255, 0, 255).astype(np.uint8)  # the authors' script
    (picture,) = system.generate(wanted(("a cat", 3)))
    assert picture.shape == (IMAGE_SIZE, IMAGE_SIZE, 3)
    assert picture.dtype == np.uint8
    assert np.abs(picture.astype(int) - expected).max() <= 1  # either way of rounding


def test_guidance_1_is_the_conditional_model_alone(folder, plain):
    model, processor = plain
    inputs = processor(
        text="<|User|>: a cat\n\n<|Assistant|>:", generation_mode="image", return_tensors="pt"
    )
    embeds = model.get_input_embeddings()(inputs["input_ids"])
    drawn = []
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(derive_seed(3, "picture"))
        for _ in range(16):
            states = model.model.language_model(inputs_embeds=embeds).last_hidden_state
            scores = model.model.generation_head(states[:, -1])
            drawn.append(torch.multinomial(scores.softmax(dim=-1), 1))
            step = model.prepare_embeddings_for_image_generation(drawn[-1])
            embeds = torch.cat([embeds, step], dim=1)
        decoded = model.decode_image_tokens(torch.cat(drawn, dim=1))[0].numpy()
    expected = np.clip((decoded + 1) / 2 * 255, 0, 255).astype(np.uint8)
    (picture,) = make(folder, guidance_scale=1.0).generate(wanted(("a cat", 3)))
    assert np.abs(picture.astype(int) - expected).max() <= 1


def test_a_picture_depends_on_its_own_text_and_seed_only(system, folder):
    batch = wanted(("a cat", 1), ("a much longer text about a red dog", 2), ("a cat", 2))
    together = system.generate(batch)
    alone = [picture for request in reversed(batch) for picture in system.generate([request])]
    assert same(together, alone[::-1])
    assert not np.array_equal(together[0], together[2])  # another seed
    assert not np.array_equal(together[1], together[2])  # another text
    assert same(make(folder).generate(batch), together)


def test_random_states_are_as_before(folder):
    system = make(folder, temperature=1.0)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    system.caption(asked())
    system.generate(wanted(("a cat", 1)))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.array_equal(np.random.get_state()[1], states[2])


def test_an_overlong_text_is_missing_alone_or_cut(system):
    long = "a red cat " * 200
    before, failed, after = system.generate(wanted(("a cat", 1), (long, 0), ("a dog", 2)))
    assert isinstance(failed, Failure)
    assert re.fullmatch(r"the text is cut: \d+ of \d+ tokens have room .*", failed.reason)
    alone = system.generate(wanted(("a cat", 1), ("a dog", 2)))
    assert np.array_equal(np.stack([before, after]), np.stack(alone))
    (picture,) = system.generate(wanted((long, 0), overlong="truncate"))
    assert picture.shape == (IMAGE_SIZE, IMAGE_SIZE, 3)


def test_a_caption_that_the_model_cannot_hold_is_an_error(folder):
    with pytest.raises(EvaluationError, match="caption up to 600, but the model was made for 512"):
        make(folder, max_new_tokens=600).caption(asked())


def test_identity_and_settings_need_no_weights_in_memory(folder):
    system = make(folder)
    assert system.identity == {
        "name": "Tiny Janus",
        "kind": "janus",
        "sha256": folder_sha256(folder),
    }
    assert system.capabilities == (True, True)
    assert system.settings == {
        "dtype": "float32",
        "captioning": {"prompt": PROMPT, "max_new_tokens": 12, "temperature": 0.0},
        "guidance_scale": 5.0,
        "image_temperature": 1.0,
    }


def test_weights_are_let_go_of_and_read_again(folder):
    system = make(folder)
    before = system.caption(asked())
    model = system.native.model
    system.close()
    assert system.native.model is not model
    assert system.caption(asked()) == before


def test_weights_have_the_dtype_of_the_recipe(folder):
    system = make(folder, dtype="bfloat16")
    assert system.native.model.dtype == torch.bfloat16
    assert len(system.caption(asked())) == 2
    assert system.generate(wanted(("a cat", 1)))[0].dtype == np.uint8


def test_another_architecture_is_refused_by_name(tmp_path):
    with pytest.raises(ModelError, match="type 'chameleon', not 'janus'"):
        make(tiny_chameleon(tmp_path))


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"no janus weights at .*nowhere"):
        make(tmp_path / "nowhere")


def changed(folder, tmp_path, change):
    """Copy a folder with other tensors."""
    copy = shutil.copytree(folder, tmp_path / "changed")
    tensors = load_file(copy / "model.safetensors")
    change(tensors)
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    return copy


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("lm_head.weight"), "missing: lm_head.weight"),
        (lambda tensors: tensors.update(extra=torch.zeros(2)), "unexpected: extra"),
        (lambda tensors: tensors.update({"lm_head.weight": torch.zeros(3, 3)}), "mismatched"),
    ],
)
def test_weights_that_do_not_fit_are_refused(folder, tmp_path, change, message):
    system = make(changed(folder, tmp_path, change))
    with pytest.raises(ModelError, match=message):
        system.caption(asked())


def test_a_folder_without_chat_template_is_refused(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match="JanusProcessor has no chat template"):
        make(copy).caption(asked())


def test_scores_that_are_not_finite_are_an_error(folder, tmp_path):
    def break_heads(tensors):
        for name in ("lm_head.weight", "model.generation_head.vision_head.weight"):
            tensors[name][0] = float("nan")

    system = make(changed(folder, tmp_path, break_heads))
    with pytest.raises(EvaluationError, match=r"NaN or infinity in torch\.float32"):
        system.caption(asked())
    with pytest.raises(EvaluationError, match=r"NaN or infinity in torch\.float32"):
        system.generate(wanted(("a cat", 1)))


def test_a_picture_that_is_not_finite_is_an_error(folder, tmp_path):
    def break_decoder(tensors):
        tensors["model.vqmodel.decoder.conv_out.bias"][0] = float("inf")

    system = make(changed(folder, tmp_path, break_decoder))
    with pytest.raises(EvaluationError, match=r"b/0\.png: the picture holds NaN or infinity"):
        system.generate(wanted(("a cat", 1)))


def test_tiny_weights_are_the_same_for_a_seed(folder, tmp_path):
    assert folder_sha256(tiny_janus(tmp_path / "same")) == folder_sha256(folder)
    assert folder_sha256(tiny_janus(tmp_path / "other", seed=1)) != folder_sha256(folder)
