from itertools import pairwise

import pytest
import torch

from uae.flow_matching.schedule import draw_training_times, sampling_times, shift_times


def test_shift_matches_hand_calculation():
    assert shift_times(0.5, 3.0) == pytest.approx(1.5 / 2)


@pytest.mark.parametrize("shift", [0.5, 1.0, 3.0])
def test_shift_keeps_the_ends_and_the_order(shift):
    times = shift_times(torch.linspace(0, 1, 11), shift)
    assert times[0] == 0
    assert times[-1] == 1
    assert (times.diff() > 0).all()


def test_shift_of_one_changes_nothing():
    assert shift_times(0.3, 1.0) == pytest.approx(0.3)


def test_sampling_times_without_shift_are_even_down_to_the_smallest_trained_time():
    assert sampling_times(3, 1.0) == pytest.approx([1.0, 0.5005, 0.001, 0.0])


@pytest.mark.parametrize("num_steps", [1, 2, 10, 40])
def test_sampling_times_fall_from_noise_to_data(num_steps):
    times = sampling_times(num_steps, 3.0)
    assert len(times) == num_steps + 1
    assert times[0] == 1
    assert times[-1] == 0
    assert all(later < earlier for earlier, later in pairwise(times))


def test_training_times_have_the_stated_logit_mean_and_std():
    generator = torch.Generator().manual_seed(0)
    times = draw_training_times(
        20_000, logit_mean=0.5, logit_std=0.8, shift=1.0, generator=generator
    )
    logits = times.logit()
    assert logits.mean().item() == pytest.approx(0.5, abs=0.03)
    assert logits.std().item() == pytest.approx(0.8, abs=0.03)


def test_shifted_training_times_are_the_shift_of_unshifted_ones():
    settings = {"logit_mean": 0.0, "logit_std": 1.0}
    plain = draw_training_times(
        9, **settings, shift=1.0, generator=torch.Generator().manual_seed(1)
    )
    moved = draw_training_times(
        9, **settings, shift=3.0, generator=torch.Generator().manual_seed(1)
    )
    torch.testing.assert_close(moved, shift_times(plain, 3.0))


def test_bad_settings_are_refused():
    generator = torch.Generator()
    with pytest.raises(ValueError, match="shift must be above 0"):
        shift_times(0.5, 0.0)
    with pytest.raises(ValueError, match="at least one step"):
        sampling_times(0, 1.0)
    for wrong in ({"num_times": 0, "logit_std": 1.0}, {"num_times": 2, "logit_std": 0.0}):
        with pytest.raises(ValueError, match="bad training times"):
            draw_training_times(**wrong, logit_mean=0.0, shift=1.0, generator=generator)
