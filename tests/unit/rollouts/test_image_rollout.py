import pytest
import torch

from uae.flow_matching.ode import sample_ode
from uae.flow_matching.schedule import sampling_times
from uae.models import decoder as decoder_module
from uae.models.tiny import tiny_autoencoder
from uae.recipe import ImageRolloutRecipe, LoraRecipe
from uae.rollouts.images import replay_steps, rollout_images

RECIPE = ImageRolloutRecipe(
    group_size=3,
    num_steps=6,
    window_size=2,
    window_start_max=3,
    step="sde",
    noise_level=0.7,
    shared_initial_noise=True,
    guidance_scale=1.0,
)


@pytest.fixture(scope="module")
def model():
    return tiny_autoencoder()


@pytest.fixture
def context(model):
    return model.condition_from_captions(["a red apple", "a small blue cat"])


def roll_out(model, context, seed=0, negative=None, **changes):
    return rollout_images(
        model.decoder,
        context,
        RECIPE.model_copy(update=changes),
        torch.Generator().manual_seed(seed),
        image_size=32,
        negative_1TD=negative,
    )


@pytest.mark.parametrize("step", ["sde", "cps"])
def test_shapes_and_replay_to_the_bit(model, context, step):
    rollout = roll_out(model, context, step=step)
    assert rollout.latents.shape == (6, 3, 4, 4, 4)
    assert rollout.means_NWCHW.shape == (6, 2, 4, 4, 4)
    assert rollout.log_probs_NW.shape == (6, 2)
    assert rollout.images_NCHW.shape == (6, 3, 32, 32)
    assert {rollout.latents.dtype, rollout.log_probs_NW.dtype} == {torch.float32}
    for w in range(rollout.window_size):
        again = replay_steps(model.decoder, rollout, w)
        assert torch.equal(again.log_prob, rollout.log_probs_NW[:, w])
        assert torch.equal(again.mean, rollout.means_NWCHW[:, w])


def test_window_is_one_for_all_and_drawn_from_the_allowed_starts(model, context):
    starts = {}
    times = sampling_times(6, model.decoder.shift)
    for seed in range(12):
        rollout = roll_out(model, context, seed)
        start = rollout.window_start
        starts[start] = rollout
        assert rollout.times == [
            (times[start], times[start + 1]),
            (times[start + 1], times[start + 2]),
        ]
    assert set(starts) <= {0, 1, 2, 3}
    assert len(starts) > 1


def test_a_group_is_one_trajectory_until_its_window(model, context):
    for seed in range(4):
        first = roll_out(model, context, seed).latents[:, 0].reshape(2, 3, 4, 4, 4)
        assert torch.equal(first[:, 0], first[:, 1])
        assert torch.equal(first[:, 0], first[:, 2])
        assert not torch.equal(first[0], first[1])


def test_own_initial_noise(model, context):
    first = roll_out(model, context, shared_initial_noise=False).latents[:, 0]
    assert len(torch.unique(first.flatten(1), dim=0)) == 6


def test_outside_the_window_the_ode_is_followed(model, context):
    rollout = roll_out(model, context)
    times = sampling_times(6, model.decoder.shift)
    velocity_fn = model.decoder.velocity_fn(rollout.context_NTD)
    end = rollout.window_start + 2
    final = sample_ode(velocity_fn, rollout.latents[:, -1], times[end:])
    assert torch.equal(final, rollout.final_latents_NCHW)
    assert torch.equal(model.decoder.decode_latents(final), rollout.images_NCHW)


def test_with_next_to_no_noise_the_group_is_the_ode_picture(model, context):
    rollout = roll_out(model, context, noise_level=1e-5)
    spread = rollout.images_NCHW.reshape(2, 3, -1).std(dim=1)
    assert spread.max() < 1e-3
    noisy = roll_out(model, context).images_NCHW.reshape(2, 3, -1).std(dim=1)
    assert noisy.mean() > 10 * spread.mean()


def test_replay_is_differentiable_and_sees_the_policy_move(model, context):
    rollout = roll_out(model, context)
    decoder = tiny_autoencoder().decoder
    decoder.add_lora("policy", LoraRecipe(rank=2, alpha=4), seed=0)
    parameters = decoder.lora_parameters("policy")
    step = replay_steps(decoder, rollout, 0)
    assert torch.equal(step.log_prob, rollout.log_probs_NW[:, 0])
    step.log_prob.sum().backward()
    assert sum(p.grad.abs().sum() for p in parameters.values() if p.grad is not None) > 0
    for parameter in parameters.values():
        parameter.data += 0.3
    assert not torch.equal(replay_steps(decoder, rollout, 0).log_prob, step.log_prob)


def test_guided_rollouts_replay(model, context):
    negative = model.negative_condition()
    rollout = roll_out(model, context, negative=negative, guidance_scale=3.0)
    plain = roll_out(model, context)
    assert not torch.allclose(rollout.images_NCHW, plain.images_NCHW, atol=1e-3)
    again = replay_steps(model.decoder, rollout, 1)
    assert torch.equal(again.log_prob, rollout.log_probs_NW[:, 1])


def test_parts(model, context):
    rollout = roll_out(model, context)
    part = rollout.part(1, 2)
    again = replay_steps(model.decoder, part, 1)
    torch.testing.assert_close(again.log_prob, rollout.log_probs_NW[3:, 1], atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match=r"captions 1 \.\. 3 are not part"):
        rollout.part(1, 3)
    with pytest.raises(ValueError, match="window step 2 is not one of 2"):
        replay_steps(model.decoder, rollout, 2)


def test_the_generator_decides(model, context):
    first, second, other = (roll_out(model, context, seed) for seed in (0, 0, 1))
    assert torch.equal(first.images_NCHW, second.images_NCHW)
    assert not torch.equal(first.images_NCHW, other.images_NCHW)


@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_large_batches_are_drawn_in_bounded_parts(model, context, monkeypatch, guidance):
    """4 x 4 latents in patches of 1 and 32 tokens of condition: 48 tokens a picture."""
    negative = model.condition_from_captions([""])
    drawn = {"negative": negative, "guidance_scale": guidance}
    whole, counted = roll_out(model, context, **drawn), []
    monkeypatch.setattr(decoder_module, "_TOKENS", 4 * 48 + 1)
    hook = model.decoder.transformer.register_forward_pre_hook(
        lambda _, __, inputs: counted.append(len(inputs["hidden_states"])), with_kwargs=True
    )
    parts = roll_out(model, context, **drawn)
    hook.remove()
    assert max(counted) == 4
    torch.testing.assert_close(parts.latents, whole.latents, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(parts.log_probs_NW, whole.log_probs_NW, atol=1e-5, rtol=1e-5)
