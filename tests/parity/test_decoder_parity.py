"""The decoder against diffusers' Stable Diffusion 3 pipeline and scheduler."""

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, StableDiffusion3Pipeline

from uae.models.tiny import tiny_autoencoder
from uae.recipe import SamplerRecipe


@pytest.fixture(scope="module")
def model():
    return tiny_autoencoder()


@pytest.mark.parametrize("guidance_scale", [1.0, 4.5])
def test_pictures_are_those_of_the_pipeline(model, guidance_scale, tmp_path):
    """Measured worst case over both scales: 1e-5 of a picture's range 0 to 1."""
    model.decoder.save(tmp_path)
    scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(tmp_path / "scheduler")
    pipeline = StableDiffusion3Pipeline(
        transformer=model.decoder.transformer,
        scheduler=scheduler,
        vae=model.decoder.vae,
        text_encoder=None,
        tokenizer=None,
        text_encoder_2=None,
        tokenizer_2=None,
        text_encoder_3=None,
        tokenizer_3=None,
    )
    pipeline.set_progress_bar_config(disable=True)
    captions = ["a red apple", "a small blue cat"]
    context = model.condition_from_captions(captions)
    noise = model.draw_noise(2, torch.Generator().manual_seed(0))
    pooled = model.decoder.pooled_D.expand(2, -1)
    expected = pipeline(
        prompt_embeds=context,
        negative_prompt_embeds=model.negative_condition().expand_as(context),
        pooled_prompt_embeds=pooled,
        negative_pooled_prompt_embeds=pooled,
        latents=noise,
        num_inference_steps=6,
        guidance_scale=guidance_scale,
        height=32,
        width=32,
        output_type="pt",
    ).images
    sampler = SamplerRecipe(num_steps=6, guidance_scale=guidance_scale)
    with torch.no_grad():
        pictures = model.generate_from_condition(context, noise, sampler)
    torch.testing.assert_close(pictures, expected, atol=1e-4, rtol=0)


def test_saved_decoder_is_read_by_diffusers(model, tmp_path):
    from diffusers import AutoencoderKL, SD3Transformer2DModel

    model.decoder.save(tmp_path)
    transformer = SD3Transformer2DModel.from_pretrained(tmp_path / "transformer")
    vae = AutoencoderKL.from_pretrained(tmp_path / "vae")
    for saved, ours in ((transformer, model.decoder.transformer), (vae, model.decoder.vae)):
        for name, value in ours.state_dict().items():
            assert torch.equal(saved.state_dict()[name], value)
    assert vae.config.shift_factor == 0.1
