"""Sizes are those of the real classes: of instantiated models, and the published counts."""

import json

import pytest
import torch
from tiny_plans import AS_TRAINED

from uae.errors import ModelError
from uae.models.tiny import tiny_autoencoder, tiny_recipe
from uae.planning.configs import PUBLISHED, find_configs
from uae.planning.meta_models import build_autoencoder, build_scorer, size_in_bytes
from uae.planning.stage_models import build_stage_models
from uae.rewards.reconstruction import load_scorer
from uae.stages.cold_start import STAGE as COLD_START

FULL = "weights/uae-qwen2.5-vl-3b-sd3.5-large"


@pytest.fixture(scope="module")
def published():
    configs = find_configs(FULL)
    return build_autoencoder(configs, image_size=512, condition_tokens=528)


def parts(model):
    return {
        "encoder": model.encoder.model,
        "connector": model.connector,
        "transformer": model.decoder.transformer,
        "vae": model.decoder.vae,
    }


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_tiny_models_have_the_counts_and_bytes_of_the_instantiated_ones(bundle):
    built = build_autoencoder(find_configs(str(bundle)), image_size=32, condition_tokens=32)
    real = tiny_autoencoder()
    for name, module in parts(built).items():
        other = parts(real)[name]
        assert count(module) == count(other) > 0, name
        assert size_in_bytes(module) == size_in_bytes(other), name
        assert {p.device.type for p in module.parameters()} == {"meta"}


def test_the_scorer_has_the_bytes_of_the_loaded_one(bundle):
    built = build_scorer(find_configs(str(bundle)), "clip", torch.float32)
    loaded = load_scorer("clip", bundle.parent)
    assert size_in_bytes(built) == size_in_bytes(loaded)
    assert built.size == loaded.size == 32


def test_prompts_are_as_long_as_the_real_encoder_s(bundle):
    built = build_autoencoder(find_configs(str(bundle)), image_size=32, condition_tokens=32)
    real = tiny_autoencoder().encoder.caption_prompt(torch.zeros(2, 3, 32, 32))
    found = built.encoder.prompts(2, 32)
    assert found.input_ids.shape == real.input_ids.shape
    assert found.pixel_values.shape == real.pixel_values.shape
    assert built.encoder.num_template_tokens == tiny_autoencoder().encoder.num_template_tokens


@pytest.mark.parametrize("stage", ["pretrain_decoder", COLD_START])
def test_trained_parameters_are_those_of_the_stage(bundle, stage):
    recipe = tiny_recipe(models={"base": str(bundle)})
    models = build_stage_models(stage, recipe, find_configs(str(bundle)), AS_TRAINED, 32)
    real = tiny_autoencoder()
    trained = count(real.connector)
    if stage == "pretrain_decoder":
        trained += count(real.decoder.transformer)
        assert models.num_lora == 0
        assert 0 < models.num_trained_in_blocks < count(real.decoder.transformer)
    else:
        for host in (real.encoder, real.decoder):
            host.add_lora("x", recipe.cold_start.encoder_lora, 0)
            trained += sum(p.numel() for p in host.lora_parameters("x").values())
        assert models.num_lora == trained - count(real.connector)
    assert models.num_trained == trained


def test_published_counts(published):
    # The counts of Qwen/Qwen2.5-VL-3B-Instruct's safetensors, of SD3.5-large's transformer and
    # 16-channel VAE; the connector by hand: 2048 * 8192 + 8192 + 8192 * 4096 + 4096.
    expected = {
        "encoder": 3_754_622_976,
        "transformer": 8.06e9,
        "vae": 83.8e6,
        "connector": 50_343_936,
    }
    for name, number in expected.items():
        assert count(parts(published)[name]) == pytest.approx(number, rel=0.01), name


def test_published_scorer_is_clip_s_image_encoder():
    # open_clip's ViT-L/14: 304 million, of which the projection has 1024 * 768.
    scorer = build_scorer(find_configs(FULL), "clip-vit-large-patch14", torch.bfloat16)
    assert count(scorer) == pytest.approx(304e6, rel=0.01)


def test_published_vision_tower_is_the_3b_s(published):
    config = published.encoder.model.config.vision_config
    assert (config.hidden_size, config.out_hidden_size) == (1280, 2048)
    # 256 x 256 pixels: 18 x 18 patches of 14, merged by 2 x 2, and 43 tokens of text.
    assert published.encoder.prompts(1, 512).input_ids.shape == (1, 9 * 9 + 43)


def test_published_configurations_are_without_weights():
    files = [path for path in PUBLISHED.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".json", ".md"}
    assert sum(path.stat().st_size for path in files) < 20_000
    assert all(json.loads(path.read_text()) for path in files if path.suffix == ".json")


def test_unknown_base_is_refused_with_those_that_there_are():
    with pytest.raises(ModelError, match=r"'weights/other'.*uae-qwen2\.5-vl-3b-sd3\.5-large"):
        find_configs("weights/other")


def test_unknown_scorer_is_refused_with_those_that_there_are(bundle):
    with pytest.raises(ModelError, match=r"no configuration of scorer 'siglip'.*there are: clip"):
        find_configs(str(bundle)).scorer("siglip")
