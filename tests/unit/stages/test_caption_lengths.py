"""What a rollout's captions look like, by hand."""

from types import SimpleNamespace

import pytest
import torch

from uae.models.encoder import CaptionPrompts
from uae.recipe_files import load_recipe
from uae.rollouts.captions import CaptionRollout
from uae.stages.generation_for_understanding import caption_lengths
from uae.training.distribution import current_world
from uae.training.share import Share

END, PAD = 7, 7  # as in Qwen's tokenizer, padding may be the token that ends a turn


def test_lengths_and_captions_cut_before_their_end():
    ids = torch.tensor([[3, 4, 5, END], [3, END, PAD, PAD], [3, 4, 5, 6], [3, 4, PAD, PAD]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 1], [1, 1, 0, 0]]).float()
    none = torch.zeros(1)
    texts = ["a red cat", "cat", "a red cat on", "a cat"]
    rollout = CaptionRollout(
        ids, mask, torch.zeros(4, 4), texts, CaptionPrompts(none, none, none, none), none
    )
    encoder = SimpleNamespace(tokenizer=SimpleNamespace(eos_token_id=END))
    section = load_recipe("starter").generation_for_understanding
    share = Share("generation_for_understanding", section, current_world())
    setting = SimpleNamespace(model=SimpleNamespace(encoder=encoder), share=share)
    assert caption_lengths(setting, rollout) == {
        "caption_words": pytest.approx(10 / 4),
        "caption_tokens": pytest.approx(12 / 4),
        "caption_cut_share": pytest.approx(0.5),
    }
