"""The encoder against transformers' own processors, forward pass and generation, and peft."""

import pytest
import torch
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import (
    Qwen2VLImageProcessorPil,
    smart_resize,
)

from uae.models.captioning import caption_logits, write_captions
from uae.models.image_processor import ImageProcessor
from uae.models.tiny import tiny_autoencoder
from uae.recipe import LoraRecipe


@pytest.fixture
def encoder():
    return tiny_autoencoder().encoder


@pytest.fixture
def images():
    return torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def randomise(host, name):
    generator = torch.Generator().manual_seed(0)
    for parameter in host.lora_parameters(name).values():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.2


def with_token_types(encoder, prompts, completion_ids=None):
    """The arguments of transformers' own forward pass, image tokens marked as such."""
    ids = prompts.input_ids
    if completion_ids is not None:
        ids = torch.cat([ids, completion_ids], dim=1)
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "pixel_values": prompts.pixel_values,
        "image_grid_thw": prompts.image_grid_thw,
        "mm_token_type_ids": (ids == encoder.model.config.image_token_id).int(),
    }


def test_image_processor(images):
    ours = ImageProcessor(4, 2, 2, 64, 1024, (0.48, 0.46, 0.41), (0.27, 0.26, 0.28))
    theirs = Qwen2VLImageProcessorPil(
        patch_size=4,
        temporal_patch_size=2,
        merge_size=2,
        min_pixels=64,
        max_pixels=1024,
        image_mean=list(ours.image_mean),
        image_std=list(ours.image_std),
    )
    pixels = (images * 255).round().to(torch.uint8)
    pictures = [Image.fromarray(p.permute(1, 2, 0).numpy()) for p in pixels]
    expected = theirs(pictures, return_tensors="pt")
    patches, grid = ours.patches(pixels.float() / 255)
    assert torch.equal(grid, expected["image_grid_thw"])
    # Measured worst case: 4.8e-7.
    torch.testing.assert_close(patches, expected["pixel_values"], atol=2e-6, rtol=0)


@pytest.mark.parametrize("size", [(32, 32), (64, 64), (100, 40), (500, 333), (5, 9), (27, 29)])
def test_resizing_rule(size):
    ours = ImageProcessor(14, 2, 2, 56 * 56, 65536, (0.5,) * 3, (0.5,) * 3)
    rows, columns = ours.grid(*size)
    expected = smart_resize(*size, factor=28, min_pixels=56 * 56, max_pixels=65536)
    assert (rows * 14, columns * 14) == expected


def test_turns_are_those_of_the_chat_template(encoder):
    text = "a large red apple, and a cat"
    turn = [{"role": "generate", "content": [{"type": "text", "text": text}]}]
    rendered = encoder.tokenizer.apply_chat_template(turn, tokenize=False)
    expected = encoder.tokenizer(rendered, return_tensors="pt").input_ids
    hidden, _ = encoder.hidden_states([text])
    states = encoder.model.model(input_ids=expected).last_hidden_state
    torch.testing.assert_close(hidden, states, atol=1e-6, rtol=1e-5)


def test_logits_are_those_of_a_plain_forward_pass(encoder, images):
    """Cache, shared prompt and explicit positions change nothing. Measured worst case: 3e-6."""
    encoder.add_lora("policy", LoraRecipe(rank=2, alpha=4), seed=0)
    randomise(encoder, "policy")
    prompts = encoder.caption_prompt(images)
    features = encoder.image_features(prompts)
    ids = torch.randint(7, 300, (4, 9), generator=torch.Generator().manual_seed(0))
    logits = caption_logits(encoder, prompts, features, ids)
    plain = encoder.model(**with_token_types(encoder, prompts, ids)).logits[:, -10:-1]
    allowed = logits > -1e29
    torch.testing.assert_close(logits[allowed], plain[allowed], atol=2e-5, rtol=1e-5)
    assert not allowed.all()


def test_greedy_captions_are_those_of_generate(encoder, images):
    encoder.add_lora("policy", LoraRecipe(rank=2, alpha=4), seed=0)
    randomise(encoder, "policy")
    tokenizer = encoder.tokenizer
    prompts = encoder.caption_prompt(images)
    features = encoder.image_features(prompts)
    # The end of turn is made likely, so that captions end at different lengths.
    encoder.model.lm_head.weight.data[tokenizer.eos_token_id] *= 2.5
    written = write_captions(
        encoder, prompts, features, group_size=1, max_new_tokens=24, temperature=0.0
    )
    generated = encoder.model.generate(
        **with_token_types(encoder, prompts),
        do_sample=False,
        max_new_tokens=24,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        suppress_tokens=[i for i in tokenizer.all_special_ids if i != tokenizer.eos_token_id],
    )[:, prompts.input_ids.shape[1] :]
    assert torch.equal(written.completion_ids_NL, generated)


def test_generate_after_ours_does_not_disturb_the_positions(encoder, images):
    """transformers' model keeps rope deltas of an earlier call; ours must not look at them."""
    prompts = encoder.caption_prompt(images)
    features = encoder.image_features(prompts)
    ids = torch.full((4, 3), 20)
    before = caption_logits(encoder, prompts, features, ids)
    encoder.model.generate(**with_token_types(encoder, prompts), max_new_tokens=2, do_sample=False)
    assert torch.equal(caption_logits(encoder, prompts, features, ids), before)


def test_saved_adapter_is_read_by_peft(encoder, tmp_path):
    from peft import PeftModel

    encoder.add_lora("policy", LoraRecipe(rank=2, alpha=4), seed=0)
    randomise(encoder, "policy")
    encoder.save_lora("policy", tmp_path / "adapter")
    before = encoder.hidden_states(["a red apple"])[0]
    plain = tiny_autoencoder().encoder
    plain.model = PeftModel.from_pretrained(plain.model, tmp_path / "adapter").base_model.model
    assert torch.equal(plain.hidden_states(["a red apple"])[0], before)


def test_saved_encoder_is_read_by_auto_classes(encoder, tmp_path):
    from transformers import AutoModelForImageTextToText, AutoTokenizer

    encoder.save(tmp_path / "encoder")
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "encoder")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "encoder")
    saved, ours = model.state_dict(), encoder.model.state_dict()
    assert all(torch.equal(saved[name], ours[name]) for name in ours)
    text = "a red apple <|im_end|>"
    assert tokenizer(text).input_ids == encoder.tokenizer(text).input_ids
    assert tokenizer.chat_template == encoder.tokenizer.chat_template
