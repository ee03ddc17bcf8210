import json

import pytest
import torch

from uae.models.tiny import tiny_autoencoder, tiny_clip, tiny_recipe


def test_tiny_recipe_merges_sections():
    recipe = tiny_recipe(cold_start={"num_updates": 7, "encoder_lora": {"rank": 3}}, seed=5)
    assert (recipe.seed, recipe.cold_start.num_updates, recipe.cold_start.batch_size) == (5, 7, 2)
    assert recipe.cold_start.encoder_lora.rank == 3
    assert recipe.cold_start.decoder_lora.rank == 2


def test_tiny_models_leave_the_global_seed_alone():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    tiny_autoencoder()
    assert torch.equal(torch.rand(1), expected)


def test_seeds_give_other_weights():
    weights = [tiny_autoencoder(seed=seed).connector.inner.weight for seed in (0, 0, 1)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_tiny_clip_is_read_by_open_clip(tmp_path):
    open_clip = pytest.importorskip("open_clip")
    folder = tiny_clip(tmp_path / "clip")
    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    assert model.encode_image(torch.zeros(1, 3, 32, 32)).shape == (1, 16)
    assert json.loads((folder / "open_clip_config.json").read_text())["preprocess_cfg"]["size"]
    assert preprocess is not None
