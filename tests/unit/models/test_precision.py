"""Blocks in bfloat16: which weights are, how far results move, and nothing lost on disk."""

import pytest
import torch
from torch import nn

from uae.models.autoencoder import AutoEncoder
from uae.models.precision import (
    compute_lowered,
    decoder_blocks,
    encoder_blocks,
    lower,
    take_originals,
    vision_blocks,
)
from uae.recipe import LoraRecipe

LORA = LoraRecipe(rank=2, alpha=4)
KINDS = (encoder_blocks, vision_blocks, decoder_blocks)
CAPTIONS = ["a red apple", "a small blue cat at the bottom right"]


def lower_all(model):
    for kind in KINDS:
        lower(kind(model).blocks)
        compute_lowered(kind(model).blocks)


def add_moved_lora(host, name="x"):
    host.add_lora(name, LORA, seed=0)
    generator = torch.Generator().manual_seed(0)
    for parameter in host.lora_parameters(name).values():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1


@pytest.fixture
def lowered(bundle):
    model = AutoEncoder.load(bundle)
    lower_all(model)
    return model


def test_blocks_alone_are_bfloat16_and_adapters_are_not(bundle):
    model = AutoEncoder.load(bundle)
    add_moved_lora(model.encoder)
    lower_all(model)
    add_moved_lora(model.decoder)
    for host, place in ((model.encoder, ".layers."), (model.decoder, "transformer_blocks.")):
        types = {name: p.dtype for name, p in host.base_parameters().items()}
        lowered = {name for name, dtype in types.items() if dtype == torch.bfloat16}
        assert lowered == {n for n in types if place in f".{n}" or "visual.blocks." in n}
        adapters = host.lora_parameters("x").values()
        assert {p.dtype for p in adapters} == {torch.float32}
    others = [*model.connector.parameters(), *model.decoder.vae.parameters()]
    assert {p.dtype for p in others} == {model.decoder.pooled_D.dtype} == {torch.float32}


def test_results_are_float32_and_differ_by_rounding(model, lowered, images):
    def results(found):
        prompts = found.encoder.caption_prompt(images)
        features = found.encoder.image_features(prompts)
        state = found.encoder.read_prompts(prompts, features)
        context = found.condition_from_captions(CAPTIONS)
        noise = torch.ones(2, *found.decoder.latent_shape(32))
        logits = found.encoder.logits(state.last_hidden_PD).clamp(min=-100)
        return features, logits, context, found.decoder.velocity(noise, 0.5, context)

    with torch.no_grad():
        for exact, rounded in zip(results(model), results(lowered), strict=True):
            assert rounded.dtype == torch.float32
            error = (rounded - exact).norm() / exact.norm()
            assert 1e-4 < error < 0.03  # bfloat16 has 8 bits: 0.4 % in each number


def test_adapters_are_merged_into_the_weights_on_disk(bundle, model, lowered):
    for found in (model, lowered):
        add_moved_lora(found.encoder)
        add_moved_lora(found.decoder)
    lowered.connector.inner.weight.data += 1
    moved = lowered.connector.inner.weight.clone()
    take_originals(lowered, bundle)
    for found in (model, lowered):
        found.encoder.merge_lora("x")
        found.decoder.merge_lora("x")
    for exact, merged in ((model.encoder, lowered.encoder), (model.decoder, lowered.decoder)):
        expected, found = exact.base_state_dict(), merged.base_state_dict()
        assert [name for name in expected if not torch.equal(expected[name], found[name])] == []
    assert torch.equal(lowered.connector.inner.weight, moved)


def test_greedy_captions_do_not_round_the_adapter_away(lowered, images):
    """Weights are of about 0.1, in steps of 0.0005: an adapter of 1e-5 would vanish."""
    encoder = lowered.encoder
    encoder.add_lora("x", LORA, seed=0)
    for parameter in encoder.lora_parameters("x").values():
        parameter.data = torch.full_like(parameter, 0.002)
    ids = torch.full((1, 3), encoder.tokenizer.eos_token_id)

    def read():
        return encoder.read_tokens(None, ids, 0)

    with torch.no_grad():
        applied = read()
        with encoder.folded():
            folded = read()
        with encoder.disabled("x"):
            without = read()
    assert torch.equal(applied, folded)
    assert not torch.equal(applied, without)


def test_attention_is_fused_everywhere(model, images, monkeypatch):
    """2 blocks each in vision tower, language model and transformer; 1 at each end of the VAE."""
    fused, calls = torch.nn.functional.scaled_dot_product_attention, []

    def counted(*args, **kwargs):
        calls.append(args[0].shape)
        return fused(*args, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", counted)

    def count(call):
        calls.clear()
        result = call()
        return len(calls), result

    with torch.no_grad():
        prompts = model.encoder.caption_prompt(images[:1])
        # Its first block looks within windows of 2 x 2 patches of the 8 x 8, one call for each.
        number, features = count(lambda: model.encoder.image_features(prompts))
        assert number >= 2
        assert count(lambda: model.encoder.read_prompts(prompts, features))[0] == 2
        number, latents = count(lambda: model.decoder.encode_images(images))
        assert number == 1
        assert count(lambda: model.decoder.decode_latents(latents))[0] == 1
        context = model.condition_from_captions(CAPTIONS[:1]).expand(len(images), -1, -1)
        assert count(lambda: model.decoder.velocity(latents, 0.5, context))[0] == 2
    config = model.encoder.model.config
    for part in (config, config.text_config, config.vision_config):
        assert part._attn_implementation == "sdpa"


def linear(weight):
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    layer.weight.data = weight.clone()
    return layer


def test_what_an_adapter_has_added_survives_rounding_in_the_mean():
    published = torch.full((400, 400), 1.0)  # steps above it are 2^-7
    layer, again = (linear(published + 2**-10) for _ in range(2))
    lower([layer], seed=3)
    lower([again], seed=3)
    assert set(layer.weight.unique().tolist()) == {1.0, 1 + 2**-7}
    up = (layer.weight > 1).float().mean().item()
    assert abs(up - 1 / 8) < 0.005  # six deviations of the mean of 160,000 draws
    assert torch.equal(layer.weight, again.weight)


def test_numbers_that_bfloat16_has_are_not_changed():
    weight = torch.tensor([[0.0, -1.0, 1 + 2**-7, -(2.0**-130)]])
    layer = linear(weight)
    lower([layer, linear(weight)])
    assert torch.equal(layer.weight.float(), weight)


def test_negative_numbers_are_rounded_to_their_neighbours():
    layer = linear(torch.full((100, 100), -1 - 2**-8))
    lower([layer])
    assert set(layer.weight.unique().tolist()) == {-1.0, -1 - 2**-7}
