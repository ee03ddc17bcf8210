"""The VAE gets a bounded number of pixels at once, and gives what it gives for all at once."""

import pytest
import torch

from uae.models import decoder as module


@pytest.mark.parametrize(("pixels", "calls"), [(2 * 32 * 32, 3), (32 * 32 - 1, 5), (10**6, 1)])
def test_pictures_go_through_the_vae_in_batches(model, monkeypatch, pixels, calls):
    decoder, counted = model.decoder, []
    images = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        latents = decoder.encode_images(images)
        pictures = decoder.decode_latents(latents)
        monkeypatch.setattr(module, "_VAE_PIXELS", pixels)
        for part in (decoder.vae.encoder, decoder.vae.decoder):
            part.register_forward_hook(lambda _, inputs, __: counted.append(len(inputs[0])))
        torch.testing.assert_close(decoder.encode_images(images), latents, atol=1e-5, rtol=1e-5)
        assert len(counted) == calls
        assert sum(counted) == 5
        torch.testing.assert_close(decoder.decode_latents(latents), pictures, atol=1e-5, rtol=1e-5)
        assert len(counted) == 2 * calls


def test_the_gradient_reaches_every_batch(model, monkeypatch):
    monkeypatch.setattr(module, "_VAE_PIXELS", 2 * 32 * 32)
    latents = torch.randn(
        5, 4, 4, 4, generator=torch.Generator().manual_seed(0), requires_grad=True
    )
    model.decoder.decode_latents(latents).sum().backward()
    assert (latents.grad.abs().sum(dim=(1, 2, 3)) > 0).all()


def test_a_time_is_the_same_as_number_and_as_tensor(model):
    context = model.condition_from_captions(["a red apple", "a cat"])
    latents = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        number = model.decoder.velocity(latents, 0.3, context)
        tensor = model.decoder.velocity(latents, torch.full((2,), 0.3), context)
    assert torch.equal(number, tensor)
