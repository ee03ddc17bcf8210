import pytest
import torch

from uae.flow_matching.ode import sample_ode
from uae.flow_matching.path import interpolate, predicted_data, predicted_noise
from uae.flow_matching.schedule import sampling_times


def draw(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def data():
    return draw(0, 2, 3, 4, 4)


@pytest.fixture
def noise():
    return draw(1, 2, 3, 4, 4)


@pytest.mark.parametrize("num_steps", [1, 7])
def test_the_true_velocity_leads_to_the_data_in_any_number_of_steps(num_steps, data, noise):
    times = sampling_times(num_steps, 3.0)
    end = sample_ode(lambda _x, _t: noise - data, noise, times)
    torch.testing.assert_close(end, data, atol=1e-5, rtol=0)


def test_two_steps_match_hand_calculation():
    # velocity = x: x = 2 -> 2 - 0.5 * 2 = 1 -> 1 - 0.25 * 1 = 0.75
    end = sample_ode(lambda x, _t: x, torch.full((1, 1, 1, 1), 2.0), [1.0, 0.5, 0.25])
    assert end.item() == pytest.approx(0.75)


def test_checkpointing_changes_neither_picture_nor_gradient(noise):
    gradients, pictures = [], []
    for checkpoint in (False, True):
        layer = torch.nn.Conv2d(3, 3, 3, padding=1)
        torch.nn.init.constant_(layer.weight, 0.03)
        torch.nn.init.constant_(layer.bias, 0.1)
        end = sample_ode(
            lambda x, t, layer=layer: torch.tanh(layer(x)) * t,
            noise,
            [1.0, 0.6, 0.2, 0.0],
            checkpoint=checkpoint,
        )
        end.square().mean().backward()
        gradients.append(layer.weight.grad)
        pictures.append(end.detach())
    assert torch.equal(*pictures)
    torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-7)


def test_bf16_velocities_accumulate_in_float32(noise):
    end = sample_ode(lambda x, _t: x.bfloat16(), noise.bfloat16(), [1.0, 0.999])
    assert end.dtype == torch.float32


@pytest.mark.parametrize("times", [[1.0], [0.5, 1.0], [1.0, 0.5, 0.5], [1.2, 0.0], [1.0, -0.1]])
def test_times_that_do_not_fall_are_refused(times, noise):
    with pytest.raises(ValueError, match="times must fall"):
        sample_ode(lambda x, _t: x, noise, times)


def test_path_ends_are_data_and_noise(data, noise):
    x = interpolate(data, noise, torch.tensor([0.0, 1.0]))
    assert torch.equal(x[0], data[0])
    assert torch.equal(x[1], noise[1])


def test_true_velocity_predicts_both_ends(data, noise):
    t_B = torch.tensor([0.2, 0.7])
    x = interpolate(data, noise, t_B)
    torch.testing.assert_close(predicted_data(x, noise - data, t_B), data, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(predicted_noise(x, noise - data, t_B), noise, atol=1e-6, rtol=1e-5)
    one = interpolate(data, noise, torch.tensor([0.4, 0.4]))
    torch.testing.assert_close(predicted_data(one, noise - data, 0.4), data, atol=1e-6, rtol=1e-5)
