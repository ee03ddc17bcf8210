import pytest
import torch

from uae.errors import ModelError
from uae.models.autoencoder import AutoEncoder
from uae.models.bundle import read_info
from uae.models.captioning import WrittenCaptions
from uae.models.connector import Connector
from uae.recipe import LoraRecipe, SamplerRecipe

LORA = LoraRecipe(rank=2, alpha=4)
SAMPLER = SamplerRecipe(num_steps=3, guidance_scale=1.0)


def randomise(host, name):
    generator = torch.Generator().manual_seed(0)
    for parameter in host.lora_parameters(name).values():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.2


def seeded():
    return torch.Generator().manual_seed(0)


def captions_of(model, texts):
    """Captions as a rollout would hold them."""
    eos = model.encoder.tokenizer.eos_token_id
    rows = [[*row, eos] for row in model.encoder.tokenizer(texts).input_ids]
    length = max(map(len, rows))
    ids = torch.tensor([row + [eos] * (length - len(row)) for row in rows])
    mask = torch.tensor([[float(i < len(row)) for i in range(length)] for row in rows])
    return WrittenCaptions(ids, mask, torch.zeros(ids.shape), texts)


def test_conditions_have_one_length_and_zeros_after_the_caption(model):
    captions = ["a red apple", "", "a small blue cat at the bottom right"]
    context = model.condition_from_captions(captions)
    _, mask = model.encoder.hidden_states(captions)
    lengths = mask.sum(dim=1).tolist()
    assert context.shape == (3, 32, 32)
    for row, length in zip(context, lengths, strict=True):
        assert (row[length:] == 0).all()
        assert (row[:length] != 0).any(dim=1).all()


def test_a_condition_does_not_depend_on_batch_mates(model):
    alone = model.condition_from_captions(["a red apple"])
    mates = ["a red apple", "a small blue cat at the bottom right"]
    together = model.condition_from_captions(mates)
    torch.testing.assert_close(together[:1], alone, atol=1e-6, rtol=1e-5)


def test_too_long_a_caption_is_refused_unless_the_model_wrote_it(model, images):
    texts = ["apple " * 20]
    with pytest.raises(ModelError, match="too long: the condition holds 25"):
        model.condition_from_captions(texts)
    context = model.condition(captions_of(model, texts), images[:1])
    assert context.shape == (1, 32, 32)
    assert (context[0, -1] != 0).any()


def test_in_context_sees_the_image_and_reencoding_does_not(model, images):
    captions = captions_of(model, ["a red apple"] * 2)
    reencoded = model.condition(captions, images[:2])
    assert torch.equal(reencoded[0], reencoded[1])
    model.condition_source = "in_context"
    in_context = model.condition(captions, images[:2])
    assert not torch.allclose(in_context[0], in_context[1], atol=1e-4)
    length = int(captions.mask_NL[0].sum())
    assert (in_context[0, :length] != 0).any(dim=1).all()
    assert (in_context[0, length:] == 0).all()
    assert (model.negative_condition() == 0).all()


def test_in_context_groups_share_their_image(model, images):
    captions = captions_of(model, ["a red apple", "a cat", "a car", "red"])
    ids, mask = captions.completion_ids_NL, captions.mask_NL
    grouped = model.condition_in_context(images[:2], ids, mask)
    second = model.condition_in_context(images[1:2], ids[2:], mask[2:])
    torch.testing.assert_close(grouped[2:], second, atol=1e-5, rtol=1e-4)


def test_in_context_captions_must_fit(model, images):
    ids = torch.zeros(1, 33, dtype=torch.long)
    with pytest.raises(ModelError, match="33 tokens do not fit a condition of 32"):
        model.condition_in_context(images[:1], ids, torch.ones(1, 33))


def test_caption_adapters_write_but_do_not_read(model):
    captions = ["a red apple"]
    before = model.condition_from_captions(captions)
    model.encoder.add_lora("writer", LORA, seed=0)
    randomise(model.encoder, "writer")
    written = model.encoder.hidden_states(captions)[0]
    assert not torch.allclose(model.condition_from_captions(captions), before, atol=1e-4)
    model.caption_adapters.append("writer")
    assert torch.equal(model.condition_from_captions(captions), before)
    assert torch.equal(model.encoder.hidden_states(captions)[0], written)


def test_caption_adapters_survive_saving_and_can_be_stacked(model, images, tmp_path):
    for name in ("one", "two"):
        model.encoder.add_lora(name, LORA, seed=0)
        randomise(model.encoder, name)
        model.caption_adapters.append(name)
    before = model.encoder.hidden_states(["a cat"])[0], model.condition_from_captions(["a cat"])
    model.save(tmp_path / "model", stage="generation_for_understanding", parent="abc")
    again = AutoEncoder.load(tmp_path / "model")
    assert again.caption_adapters == ["caption_0", "caption_1"]
    assert torch.equal(again.encoder.hidden_states(["a cat"])[0], before[0])
    assert torch.equal(again.condition_from_captions(["a cat"]), before[1])
    info = read_info(tmp_path / "model")
    assert (info.stage, info.parent) == ("generation_for_understanding", "abc")


@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_forgotten_adapters_are_not_saved_silently(model, tmp_path, side):
    getattr(model, side).add_lora("forgotten", LORA, seed=0)
    with pytest.raises(ModelError, match=r"merge .*forgotten"):
        model.save(tmp_path / "model", stage="cold_start", parent=None)
    assert list(tmp_path.iterdir()) == []


def test_gradients_reach_reader_connector_and_decoder(model):
    model.encoder.add_lora("shared", LORA, seed=0)
    model.decoder.add_lora("shared", LORA, seed=0)
    randomise(model.encoder, "shared")
    randomise(model.decoder, "shared")
    model.connector.requires_grad_(True)
    noise = model.draw_noise(1, seeded())
    gradients = []
    for checkpoint in (False, True):
        context = model.condition_from_captions(["a red apple"])
        picture = model.generate_from_condition(context, noise, SAMPLER, checkpoint=checkpoint)
        decoder = model.decoder.lora_parameters("shared")
        trained = [
            *model.encoder.lora_parameters("shared").values(),
            # The last block throws its context away, so that its query has no effect.
            *(p for n, p in decoder.items() if "blocks.1.attn.add_q_proj" not in n),
            *model.connector.parameters(),
        ]
        gradients.append(torch.autograd.grad(picture.sum(), trained))
    assert all(gradient.abs().sum() > 0 for gradient in gradients[0])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed, atol=1e-6, rtol=1e-4)


def test_guidance_at_scale_one_is_off_and_moves_pictures_above(model):
    context = model.condition_from_captions(["a red apple"])
    noise = model.draw_noise(1, seeded())
    plain = model.generate_from_condition(context, noise, SAMPLER)
    guided = model.generate_from_condition(
        context, noise, SAMPLER.model_copy(update={"guidance_scale": 3.0})
    )
    assert not torch.allclose(plain, guided, atol=1e-4)
    empty = model.negative_condition()
    unguided = model.generate_from_condition(empty, noise, SAMPLER)
    same = model.generate_from_condition(
        empty, noise, SAMPLER.model_copy(update={"guidance_scale": 3.0})
    )
    torch.testing.assert_close(same, unguided, atol=1e-5, rtol=1e-5)


def test_guidance_is_the_extrapolation_from_the_empty_caption(model):
    context = model.condition_from_captions(["a red apple", "a cat"])
    negative = model.negative_condition()
    noise = model.draw_noise(2, seeded())
    guided = model.decoder.velocity_fn(context, guidance_scale=3.0, negative_1TD=negative)
    positive = model.decoder.velocity(noise, 0.5, context)
    unconditional = model.decoder.velocity(noise, 0.5, negative.expand_as(context))
    expected = unconditional + 3 * (positive - unconditional)
    torch.testing.assert_close(guided(noise, 0.5), expected, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="needs the empty caption"):
        model.decoder.velocity_fn(context, guidance_scale=3.0)


@pytest.mark.parametrize("source", ["reencode_text", "in_context"])
def test_reconstruct_gives_a_caption_and_a_picture_each(model, images, source):
    model.condition_source = source
    captions, pictures = model.reconstruct(
        images, generator=seeded(), sampler=SAMPLER, max_new_tokens=5
    )
    assert captions == model.caption(images, max_new_tokens=5)
    assert pictures.shape == images.shape
    assert (pictures.min() >= 0) & (pictures.max() <= 1)


def test_parts_that_do_not_fit_are_refused(model):
    with pytest.raises(ModelError, match=r"connector maps 16 to 32, not \(32, 32\)"):
        AutoEncoder(model.encoder, Connector(16, 8, 32), model.decoder, model.info)
    with pytest.raises(ModelError, match="image_size 20 is no multiple of the VAE's factor 8"):
        model.decoder.latent_shape(20)


def test_latents_of_a_picture_are_scaled_and_shifted(model, images):
    latents = model.decoder.encode_images(images)
    mode = model.decoder.vae.encode(images * 2 - 1).latent_dist.mean
    torch.testing.assert_close(latents, (mode - 0.1) * 1.5)
    decoded = model.decoder.vae.decode(mode).sample / 2 + 0.5
    torch.testing.assert_close(
        model.decoder.decode_latents(latents), decoded.clamp(0, 1), atol=1e-5, rtol=1e-5
    )
    assert latents.shape == (3, *model.decoder.latent_shape(32))


def test_time_may_be_one_number_or_one_for_each_picture(model):
    context = model.condition_from_captions(["a red apple", "a cat"])
    noise = model.draw_noise(2, seeded())
    each = model.decoder.velocity(noise, torch.tensor([0.3, 0.8]), context)
    for row, t in enumerate((0.3, 0.8)):
        alone = model.decoder.velocity(noise, t, context)[row]
        torch.testing.assert_close(each[row], alone, atol=1e-6, rtol=1e-5)
