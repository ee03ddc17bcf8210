"""Published folders become a bundle with the same numbers, or nothing."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusion3Pipeline
from published_models import INDEX, MODEL, PUBLISHED_MAX_PIXELS
from safetensors.torch import load_file, save_file
from stage_world import write_split
from transformers import CLIPTextModelWithProjection, CLIPTokenizer
from unit.weights.conftest import CHOICES, recipe_of

from uae.errors import ModelError
from uae.models.autoencoder import AutoEncoder
from uae.models.bundle import read_json
from uae.stages import pretrain_decoder
from uae.weights.assembling import add_model, assemble
from uae.weights.manifest import read_manifest

SHARD = "model-00002-of-00002.safetensors"
DIFFUSERS = "diffusion_pytorch_model.safetensors"


def test_a_bundle_has_the_published_numbers(assembled, published):
    loaded = AutoEncoder.load(assembled.bundle)
    pairs = (
        (loaded.encoder.model, published.model.encoder.model, torch.bfloat16),
        (loaded.decoder.transformer, published.model.decoder.transformer, torch.float32),
        (loaded.decoder.vae, published.model.decoder.vae, torch.float32),
    )
    for module, source, stored in pairs:
        state, expected = module.state_dict(), source.state_dict()
        assert state.keys() == expected.keys()
        assert all(torch.equal(state[n], expected[n].to(stored).float()) for n in state)
    assert loaded.encoder.image_processor.max_pixels == CHOICES.max_pixels < PUBLISHED_MAX_PIXELS
    assert loaded.connector.sizes["hidden_features"] == CHOICES.connector_width


def test_weights_are_linked_where_that_changes_nothing_for_the_source(published, tmp_path):
    decoder = tmp_path / "sd3"
    shutil.copytree(published.decoder, decoder)
    transformer, vae = (f"{part}/{DIFFUSERS}" for part in ("transformer", "vae"))
    (decoder / transformer).chmod(0o644)
    (decoder / vae).chmod(0o600)  # a link would share the mode that a bundle's files have
    assemble(str(published.encoder), str(decoder), tmp_path / "bundle", CHOICES)
    assert os.path.samefile(tmp_path / "bundle" / transformer, decoder / transformer)
    assert not os.path.samefile(tmp_path / "bundle" / vae, decoder / vae)
    assert (decoder / vae).stat().st_mode & 0o777 == 0o600


def test_pickles_and_what_is_not_used_are_left_out(assembled):
    names = {path.name for path in assembled.bundle.rglob("*")}
    assert not names & {"optimizer.pt", "text_encoder", "sd3.5_large.safetensors"}
    licences = {path.name: path.read_text() for path in (assembled.bundle / "LICENSES").iterdir()}
    assert licences == {
        "encoder-LICENSE": "An encoder's licence.\n", "decoder-LICENSE.md": "A decoder's licence.\n"
    }  # fmt: skip


def test_the_pooled_embedding_is_that_of_diffusers(assembled, published):
    folder = published.decoder
    pipeline = StableDiffusion3Pipeline(
        transformer=published.model.decoder.transformer,
        vae=published.model.decoder.vae,
        scheduler=None,
        text_encoder=CLIPTextModelWithProjection.from_pretrained(folder / "text_encoder"),
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        text_encoder_2=CLIPTextModelWithProjection.from_pretrained(folder / "text_encoder_2"),
        tokenizer_2=CLIPTokenizer.from_pretrained(folder / "tokenizer_2"),
        text_encoder_3=None,
        tokenizer_3=None,
    )
    parts = [pipeline._get_clip_prompt_embeds("", clip_model_index=n)[1][0] for n in (0, 1)]
    found = load_file(assembled.bundle / "pooled_projection.safetensors")["pooled_projection"]
    torch.testing.assert_close(found, torch.cat(parts), rtol=0, atol=1e-6)  # measured 0
    assert found.norm() > 0.1


def test_the_manifest_says_where_each_part_is_from(assembled, published):
    manifest, sha256 = read_manifest(assembled.root)
    assert sha256 == assembled.recipe.models.manifest
    encoder = manifest.parts["published/encoder"]
    assert (encoder.source, encoder.licence, encoder.restricted) == (
        str(published.encoder), "qwen-research", True,
    )  # fmt: skip
    connector = manifest.parts["published/connector"]
    assert (connector.source, connector.restricted) == ("random weights of seed 0", False)
    assert connector.tensors["outer.weight"] == "F32 [32, 64]"
    assert manifest.parts["published/pooled_projection.safetensors"].restricted
    path = assembled.bundle / "model.json"
    assert manifest.files("published")["published/model.json"].bytes == path.stat().st_size


def test_the_connector_s_numbers_follow_from_the_seed(published, tmp_path):
    def connector(name, seed):
        choices = CHOICES.__class__(**{**CHOICES.__dict__, "seed": seed})
        assemble(str(published.encoder), str(published.decoder), tmp_path / name, choices)
        return load_file(tmp_path / name / "connector/connector.safetensors")["inner.weight"]

    first = connector("first", 1)
    assert torch.equal(first, connector("again", 1))
    assert not torch.equal(first, connector("other", 2))


def test_an_update_is_trained_from_an_assembled_bundle(assembled, tmp_path):
    write_split(tmp_path / "data/train", 4, first=0)
    write_split(tmp_path / "data/heldout", 2, first=4)
    recipe = recipe_of(assembled.bundle, assembled.recipe.models.manifest)
    section = recipe.pretrain_decoder.model_copy(update={"num_updates": 1})
    recipe = recipe.model_copy(update={"pretrain_decoder": section})
    pretrain_decoder.train(recipe, tmp_path / "data", assembled.bundle, tmp_path / "out")
    before, after = (
        AutoEncoder.load(path).connector for path in (assembled.bundle, tmp_path / "out")
    )
    assert not torch.equal(before.inner.weight, after.inner.weight)


def spoil_tensors(file, change):
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)


def cut(path: Path):
    path.write_bytes(path.read_bytes()[:-8])


def rewrite(path: Path, **changes):
    path.write_text(json.dumps(read_json(path) | changes))


SPOILT = {
    "a shard is missing": (lambda q, s: (q / SHARD).unlink(), rf"lacks {SHARD}"),
    "a shard is cut off": (lambda q, s: cut(q / SHARD), rf"{SHARD} is cut off: it has \d+ of \d+"),
    "another encoder": (
        lambda q, s: rewrite(q / "config.json", model_type="qwen2_vl"),
        "another architecture: model_type is 'qwen2_vl', not 'qwen2_5_vl'",
    ),
    "a contradiction": (
        lambda q, s: rewrite(q / "config.json", layer_types=["full_attention"]),
        "(?s)encoder cannot be loaded: .*layer_types",
    ),
    "a deeper encoder": (
        lambda q, s: rewrite(q / "config.json", num_hidden_layers=3),
        "weights of 2 blocks, its configuration says 3",
    ),
    "no chat template": (
        lambda q, s: (q / "chat_template.jinja").unlink(),
        r"no chat template, in tokenizer_config\.json or chat_template\.jinja",
    ),
    "no tokenizer": (lambda q, s: (q / "tokenizer.json").unlink(), "lacks tokenizer.json"),
    "another transformer": (
        lambda q, s: rewrite(s / "transformer/config.json", _class_name="FluxTransformer2DModel"),
        "_class_name is 'FluxTransformer2DModel'",
    ),
    "a key too many": (
        lambda q, s: spoil_tensors(
            s / "transformer" / DIFFUSERS, lambda t: t.update(surplus=torch.ones(1))
        ),
        "transformer does not fit its configuration; tensors unexpected: surplus",
    ),
    "a key is missing": (
        lambda q, s: spoil_tensors(s / "vae" / DIFFUSERS, lambda t: t.pop("encoder.conv_in.bias")),
        r"vae does not fit its configuration; tensors missing: encoder\.conv_in\.bias",
    ),
    "another width": (
        lambda q, s: rewrite(s / "transformer/config.json", pooled_projection_dim=24),
        r"pooled_projection \S+ \[16\] instead of \[24\]",
    ),
    "no CLIP": (
        lambda q, s: shutil.rmtree(s / "text_encoder_2"), "lacks text_encoder_2/config.json"
    ),
    "a moving schedule": (
        lambda q, s: rewrite(s / "scheduler/scheduler_config.json", use_dynamic_shifting=True),
        "must have a constant shift",
    ),
    "an index of another": (
        lambda q, s: rewrite(q / INDEX, weight_map={"lm_head.weight": SHARD}),
        rf"{SHARD} is not what {INDEX} says; missing: lm_head.weight; unexpected: ",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", SPOILT)
def test_what_does_not_fit_is_refused_by_name_and_leaves_nothing(published, tmp_path, fault):
    encoder, decoder = tmp_path / "qwen", tmp_path / "sd3"
    shutil.copytree(published.encoder, encoder)
    shutil.copytree(published.decoder, decoder)
    spoil, says = SPOILT[fault]
    spoil(encoder, decoder)
    out = tmp_path / "weights" / "bundle"
    with pytest.raises(ModelError, match=says):
        assemble(str(encoder), str(decoder), out, CHOICES)
    assert not out.exists()
    assert not [*out.parent.iterdir()]


def test_an_unknown_licence_must_be_named(published, tmp_path):
    unnamed = CHOICES.__class__(**{**CHOICES.__dict__, "encoder_licence": None})
    with pytest.raises(ModelError, match="is not known: give --encoder-licence"):
        assemble(str(published.encoder), str(published.decoder), tmp_path / "bundle", unnamed)
    with pytest.raises(ModelError, match="there is no folder"):
        assemble(str(tmp_path / "none"), str(published.decoder), tmp_path / "bundle", CHOICES)


def test_pickles_are_no_scorer(tmp_path):
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"neither config\.json nor open_clip_config\.json"):
        add_model(str(tmp_path), tmp_path / "scorers" / "clip", licence="mit")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="pickled weights are never taken"):
        add_model(str(tmp_path), tmp_path / "scorers" / "clip", licence="mit")
    assert MODEL not in os.listdir(tmp_path)
