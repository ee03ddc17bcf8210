import math

import pytest
import torch

from uae.flow_matching.sde import cps_step, sde_step, step_fn

WHEN = {"t": 0.5, "t_next": 0.4, "t_max": 0.9, "noise_level": 0.7}


def draw(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def latents():
    return draw(0, 3, 4, 5, 6)


@pytest.fixture
def velocity():
    return draw(1, 3, 4, 5, 6)


def test_sde_step_matches_hand_calculation():
    # a = 1, t = 1/2: sigma = 1, dt = -1/4, drift = 1 + 1 * (2 + 1/2 * 1) = 3.5
    one = torch.ones(1, 1, 1, 1)
    step = sde_step(one, 2 * one, t=0.5, t_next=0.25, t_max=0.9, noise_level=1.0)
    assert step.mean.item() == pytest.approx(2 - 3.5 / 4)
    assert step.std == pytest.approx(0.5)
    assert step.noise_scale == pytest.approx(1)
    assert step.step_size == pytest.approx(0.25)


def test_sde_step_at_pure_noise_takes_the_cap_in_the_denominator_only():
    # t = 1, t_max = 3/4, a = 1: sigma^2 = 1 / (1 - 3/4) = 4; drift = v + 4/2 (x + 0) = 1 + 4 = 5
    one = torch.ones(1, 1, 1, 1)
    step = sde_step(one, 2 * one, t=1.0, t_next=0.75, t_max=0.75, noise_level=1.0)
    assert step.mean.item() == pytest.approx(2 - 5 / 4)
    assert step.noise_scale == pytest.approx(2)


def test_cps_step_matches_hand_calculation():
    # t = 1/2, v = 1, x = 2: data 1.5, noise 2.5; eta = 1/3: sin 30 degrees = 1/2.
    # t_next = 1/4: std = 1/8; kept noise = 1/4 cos 30 degrees.
    one = torch.ones(1, 1, 1, 1)
    step = cps_step(one, 2 * one, t=0.5, t_next=0.25, t_max=0.9, noise_level=1 / 3)
    assert step.std == pytest.approx(1 / 8)
    assert step.mean.item() == pytest.approx(0.75 * 1.5 + 0.25 * math.sqrt(3) / 2 * 2.5)


def test_cps_log_prob_is_the_negative_squared_distance_from_the_mean():
    zero = torch.zeros(1, 1, 1, 2)
    target = torch.tensor([[[[1.0, 3.0]]]])
    step = cps_step(zero, zero, **WHEN, x_next_BCHW=target)
    assert step.log_prob.item() == pytest.approx(-(1 + 9) / 2)


@pytest.mark.parametrize("step", [sde_step, cps_step])
def test_step_without_noise_is_the_ode_step(step, latents, velocity):
    drawn = step(velocity, latents, t=0.5, t_next=0.4, t_max=0.9, noise_level=1e-4)
    torch.testing.assert_close(drawn.mean, latents - 0.1 * velocity, atol=1e-5, rtol=0)


@pytest.mark.parametrize("step", [sde_step, cps_step])
def test_replayed_step_has_ratio_one(step, latents, velocity):
    drawn = step(velocity, latents, **WHEN)
    again = step(velocity, latents, **WHEN, x_next_BCHW=drawn.x_next)
    assert torch.equal(again.log_prob, drawn.log_prob)


@pytest.mark.parametrize("step", [sde_step, cps_step])
def test_log_prob_of_an_image_does_not_depend_on_its_batch(step, latents, velocity):
    drawn = step(velocity, latents, **WHEN)
    alone = step(velocity[1:2], latents[1:2], **WHEN, x_next_BCHW=drawn.x_next[1:2])
    torch.testing.assert_close(alone.log_prob, drawn.log_prob[1:2], rtol=1e-6, atol=0)


@pytest.mark.parametrize("step", [sde_step, cps_step])
def test_drawn_points_have_the_stated_mean_and_std(step):
    x, v = torch.full((1, 1, 200, 200), 0.3), torch.full((1, 1, 200, 200), -0.8)
    drawn = step(v, x, **WHEN, generator=torch.Generator().manual_seed(0))
    noise = (drawn.x_next - drawn.mean) / drawn.std
    assert noise.mean().item() == pytest.approx(0, abs=0.02)
    assert noise.std().item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("step", [sde_step, cps_step])
def test_same_generator_same_draw(step, latents, velocity):
    first = step(velocity, latents, **WHEN, generator=torch.Generator().manual_seed(3))
    second = step(velocity, latents, **WHEN, generator=torch.Generator().manual_seed(3))
    assert torch.equal(first.x_next, second.x_next)


@pytest.mark.parametrize("step", [sde_step, cps_step])
def test_weight_is_the_curvature_of_the_log_prob(step, latents, velocity):
    drawn = step(velocity, latents, **WHEN)
    at_mean = step(velocity, latents, **WHEN, x_next_BCHW=drawn.mean)
    moved = step(velocity, latents, **WHEN, x_next_BCHW=drawn.mean + 0.5)
    fall = at_mean.log_prob - moved.log_prob
    torch.testing.assert_close(fall, torch.full((3,), drawn.log_prob_weight * 0.25))


def test_cps_keeps_the_noise_level_of_the_schedule():
    # With the true velocity, x_next - (1 - t_next) data has std t_next, fresh noise included.
    data, noise = draw(2, 1, 1, 300, 300), draw(3, 1, 1, 300, 300)
    x = 0.5 * data + 0.5 * noise
    drawn = cps_step(noise - data, x, **WHEN, generator=torch.Generator().manual_seed(4))
    left = drawn.x_next - 0.6 * data
    assert left.std().item() == pytest.approx(0.4, rel=0.02)


def test_drawn_point_carries_no_gradient_but_its_log_prob_does(latents, velocity):
    velocity.requires_grad_()
    drawn = sde_step(velocity, latents, **WHEN)
    assert not drawn.x_next.requires_grad
    assert drawn.log_prob.requires_grad


def test_bf16_velocity_is_raised_to_float32(latents, velocity):
    drawn = sde_step(velocity.bfloat16(), latents, **WHEN)
    assert drawn.mean.dtype == drawn.log_prob.dtype == torch.float32


@pytest.mark.parametrize("step", [sde_step, cps_step])
@pytest.mark.parametrize(
    "wrong",
    [
        {"t": 1.1},
        {"t_next": 0.5},
        {"t_next": -0.1},
        {"t_max": 1.0},
        {"t_max": 0.0},
        {"noise_level": 0.0},
    ],
)
def test_impossible_steps_are_refused(step, wrong, latents, velocity):
    with pytest.raises(ValueError, match="bad SDE step"):
        step(velocity, latents, **(WHEN | wrong))


@pytest.mark.parametrize("wrong", [{"t_next": 0.0}, {"noise_level": 1.5}])
def test_cps_refuses_a_step_without_noise_or_beyond_a_right_angle(wrong, latents, velocity):
    with pytest.raises(ValueError, match="bad CPS step"):
        cps_step(velocity, latents, **(WHEN | wrong))


def test_step_fn_names_both():
    assert step_fn("sde") is sde_step
    assert step_fn("cps") is cps_step
