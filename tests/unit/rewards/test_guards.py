import pytest
import torch

from uae.rewards.guards import (
    length_penalty,
    repetition,
    repetition_penalty,
    transcription_penalty,
)


def test_length_is_free_up_to_the_limit_and_then_relative_to_it():
    captions = ["a cat", "one two three four five six", "w " * 12]
    penalties = length_penalty(captions, base_words=3, max_ratio=2)
    torch.testing.assert_close(penalties, torch.tensor([0.0, 0.0, 1.0]))


def test_length_of_a_chinese_caption_counts_its_characters():
    penalties = length_penalty(
        ["一只红色的猫。", "两只红色的猫和三只狗"], base_words=2.5, max_ratio=2
    )
    torch.testing.assert_close(penalties, torch.tensor([1 / 5, 1.0]))


@pytest.mark.parametrize("wrong", [{"base_words": 0.0}, {"max_ratio": 0.0}])
def test_a_length_guard_without_a_limit_is_refused(wrong):
    with pytest.raises(ValueError, match="bad length guard"):
        length_penalty(["a"], **({"base_words": 1.0, "max_ratio": 2.0} | wrong))


@pytest.mark.parametrize(
    ("caption", "true_texts", "penalty"),
    [
        ('a bus with "BUS" on it', ["BUS"], 0.0),
        ("a bus", [], 0.0),
        ("a bus", ["BUS"], 1.0),  # left out
        ('a bus, "BUS"', [], 1.0),  # invented
        ('"BUS" "BUS"', ["BUS"], 1 / 3),  # one of three texts has no partner
        ('"BUT"', ["BUS"], 1 / 3),  # two of three letters: similarity 2/3
        ('"TOP" and "BUS"', ["BUS", "TOP"], 0.0),  # in any order
        ('"TOP"', None, 0.0),  # unknown
    ],
)
def test_transcription_matches_hand_calculation(caption, true_texts, penalty):
    assert transcription_penalty([caption], [true_texts]).item() == pytest.approx(penalty)


def test_transcription_needs_the_truth_of_every_picture():
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        transcription_penalty(["a", "b"], [[]])


@pytest.mark.parametrize(
    ("caption", "share"),
    [
        ("", 0.0),
        ("a red cat at the top and a blue dog at the bottom", 0.0),
        ("topleft topleft topleft topleft", 3 / 4),
        ("a b c d a b c d", 1 / 8),  # the last word completes a phrase said before
        ("Cat cat", 1 / 2),
        ("一只红色的猫在左上角", 0.0),
        ("红猫、红猫、红猫、红猫", 3 / 8),  # four characters are a phrase
        ("猫、猫、猫、猫", 3 / 4),
    ],
)
def test_repetition_matches_hand_calculation(caption, share):
    assert repetition(caption) == pytest.approx(share)


def test_repetition_penalty_has_one_value_for_each_caption():
    torch.testing.assert_close(repetition_penalty(["a a", "a b"]), torch.tensor([0.5, 0.0]))
