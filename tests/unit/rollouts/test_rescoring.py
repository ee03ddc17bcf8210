"""Old log-probs by the trainer's own pass, where the rounding of bfloat16 depends on the batch."""

from dataclasses import replace

import pytest
import torch

from uae.errors import TrainingError
from uae.models.precision import compute_lowered, decoder_blocks, encoder_blocks, lower
from uae.models.tiny import tiny_autoencoder
from uae.recipe import CaptionRolloutRecipe, ImageRolloutRecipe, LoraRecipe
from uae.rollouts.captions import caption_log_probs, rollout_captions
from uae.rollouts.images import replay_steps, rollout_images
from uae.rollouts.rescoring import mean_gap, rescore_captions, rescore_steps, token_gap

CAPTIONS = CaptionRolloutRecipe(group_size=3, max_new_tokens=8, temperature=1.0)
STEPS = ImageRolloutRecipe(
    group_size=3,
    num_steps=4,
    window_size=2,
    window_start_max=1,
    step="sde",
    noise_level=0.7,
    shared_initial_noise=False,
    guidance_scale=1.0,
)
PARTS = [slice(1, 2), slice(2, 4)]


@pytest.fixture
def model():
    model = tiny_autoencoder()
    for blocks in (encoder_blocks(model).blocks, decoder_blocks(model).blocks):
        lower(blocks)
        compute_lowered(blocks)
    for host in (model.encoder, model.decoder):
        host.add_lora("policy", LoraRecipe(rank=2, alpha=4), seed=0)
    return model


def move(host, scale):
    generator = torch.Generator().manual_seed(1)
    for parameter in host.lora_parameters("policy").values():
        parameter.data += scale * torch.randn(parameter.shape, generator=generator)


def captions(model):
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return rollout_captions(model.encoder, images, CAPTIONS, torch.Generator().manual_seed(0))


def steps(model):
    context = model.condition_from_captions(["a red apple", "a cat", "a dog", "the sun"])
    source = torch.Generator().manual_seed(0)
    return rollout_images(model.decoder, context, STEPS, source, image_size=32)


def test_rescored_captions_are_the_trainer_s_to_the_bit(model):
    move(model.encoder, 0.2)
    rollout = captions(model)
    rounded = rollout.log_probs_NL + 0.01 * rollout.mask_NL  # as another batch might
    rollout = replace(rollout, log_probs_NL=rounded)
    again = rescore_captions(model.encoder, rollout, PARTS, temperature=1.0)
    for part in PARTS:
        groups = again.part(part.start, part.stop)
        own = caption_log_probs(model.encoder, groups, temperature=1.0).log_probs_NL
        assert torch.equal(own.detach(), groups.log_probs_NL)
        assert token_gap(own, groups) == 0
    assert torch.equal(again.log_probs_NL[:3], rollout.log_probs_NL[:3])  # of no part
    assert again.log_probs_NL.dtype == torch.float32


def test_rescored_steps_are_the_trainer_s_to_the_bit(model):
    move(model.decoder, 0.2)
    rollout = steps(model)
    rounded = {
        "log_probs_NW": rollout.log_probs_NW + 1e-4,
        "means_NWCHW": rollout.means_NWCHW + 0.01,
    }
    rollout = replace(rollout, **rounded)
    again = rescore_steps(model.decoder, rollout, PARTS)
    for part in PARTS:
        groups = again.part(part.start, part.stop)
        for w in range(2):
            own = replay_steps(model.decoder, groups, w)
            assert torch.equal(own.log_prob.detach(), groups.log_probs_NW[:, w])
            assert torch.equal(own.mean.detach(), groups.means_NWCHW[:, w])
    assert torch.equal(again.means_NWCHW[:3], rollout.means_NWCHW[:3])
    assert torch.equal(again.latents, rollout.latents)


def test_without_parts_a_rollout_is_what_it_was(model):
    drawn, written = steps(model), captions(model)
    assert rescore_steps(model.decoder, drawn, []) is drawn
    assert rescore_captions(model.encoder, written, [], temperature=1.0) is written


def test_another_policy_is_refused(model):
    written = captions(model)
    move(model.encoder, 1.0)
    with pytest.raises(TrainingError, match="nats in a token's log-probability, on average, more"):
        rescore_captions(model.encoder, written, PARTS, temperature=1.0)


def test_other_latents_are_refused(model):
    drawn = steps(model)
    drawn = replace(drawn, latents=drawn.latents.flip(0))
    with pytest.raises(
        TrainingError, match=r"standard deviations in a step's mean, more than 0\.5"
    ):
        rescore_steps(model.decoder, drawn, PARTS)


def test_gap_of_a_mean_by_hand(model):
    rollout = steps(model)
    step = replay_steps(model.decoder, rollout, 0)
    assert mean_gap(step, step.mean + 0.25 * step.std) == pytest.approx(0.25, rel=1e-3)
    nan = step.mean * float("nan")
    assert mean_gap(step, nan) != mean_gap(step, nan)  # the loss will tell, with the samples


def test_gap_of_log_probs_by_hand(model):
    rollout = captions(model)
    one = rollout.log_probs_NL + torch.eye(*rollout.log_probs_NL.shape) * rollout.mask_NL
    assert token_gap(one, rollout) == pytest.approx(
        (torch.eye(*one.shape) * rollout.mask_NL).sum().item() / rollout.num_tokens
    )
