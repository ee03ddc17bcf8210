"""Stages whose frozen blocks are kept in bfloat16 and whose activations are recomputed."""

import pytest
import torch
from stage_world import STAGES, rows, stage_recipe, train, weights

from uae.errors import ModelError
from uae.recipe import Recipe
from uae.stages.setting import open_setting

GFU, UFG = "generation_for_understanding", "understanding_for_generation"
FULL_SCALE = {"frozen_dtype": "bfloat16", "scorer_dtype": "bfloat16", "recompute_blocks": True}
SHARDED = {"frozen": "replicated", "compute": "bfloat16"}
TRAINED = {
    "pretrain_decoder": ("connector/", "transformer/"),
    "cold_start": ("encoder/", "connector/", "transformer/"),
    GFU: ("caption_adapters/",),
    UFG: ("transformer/",),
}


def recipe_of(world, stage, models, **section):
    values = stage_recipe(world, stage, **section).model_dump()
    values["models"] |= models
    return Recipe.model_validate(values)


@pytest.fixture(scope="module")
def trained(world, tmp_path_factory):
    """Every stage, in one process that holds the models whole: as is, and lowered."""
    folder = tmp_path_factory.mktemp("trained")
    steps = {"learning_rate": 0.01, "warmup_updates": 0}
    for stage in STAGES:
        for how, models in (("exact", {}), ("lowered", FULL_SCALE)):
            out = folder / stage / how
            recipe = recipe_of(world, stage, models, optimizer=steps, batch_size=4)
            train(stage, recipe, world, out, log_dir=out.with_name(f"{how}-log"))
    return folder


@pytest.mark.parametrize("stage", STAGES)
def test_what_is_not_trained_is_saved_as_it_was_to_the_bit(world, trained, stage):
    before, after = weights(world.bundle), weights(trained / stage / "lowered")
    assert {tensor.dtype for tensor in after.values()} == {torch.float32}
    changed = {n for n in after if n not in before or not torch.equal(before[n], after[n])}
    assert changed
    assert all(name.startswith(TRAINED[stage]) for name in changed)
    exact = weights(trained / stage / "exact")
    assert changed == {n for n in exact if n not in before or not torch.equal(before[n], exact[n])}


@pytest.mark.parametrize("stage", [s for s in STAGES if s != GFU])  # whose captions are drawn
def test_the_curve_is_nearly_that_of_float32(trained, stage):
    exact, lowered = (rows(trained / stage / f"{how}-log")[0] for how in ("exact", "lowered"))
    name = "grad_norm"  # of the same weights and samples
    assert lowered[name] == pytest.approx(exact[name], rel=0.1)
    assert lowered[name] != pytest.approx(exact[name], rel=1e-6)


@pytest.mark.parametrize("sharding", ["replicated", SHARDED])
@pytest.mark.parametrize(("stage", "gap"), [(GFU, "token_gap"), (UFG, "mean_gap")])
def test_the_ratio_starts_at_1_in_every_minibatch(world, tmp_path, stage, gap, sharding):
    section = {
        "num_updates": 1,
        "batch_size": 8,
        "num_minibatches": 2,
        "accumulation_steps": 2,
        "ratio_tolerance": 1e-9,
        "optimizer": {"learning_rate": 1e-12, "warmup_updates": 0},
    }
    recipe = recipe_of(world, stage, FULL_SCALE | {"sharding": sharding}, **section)
    summary = train(stage, recipe, world, tmp_path / "out")
    # The second minibatch comes after a step that is too small to move a weight.
    assert summary["ratio/max_deviation"] == 0
    assert 0 <= summary[f"rollout/{gap}"] < 0.05


def test_what_is_held_in_bfloat16(world):
    for stage, sharding in ((GFU, "replicated"), (UFG, SHARDED), ("pretrain_decoder", SHARDED)):
        recipe = recipe_of(world, stage, FULL_SCALE | {"sharding": sharding})
        with open_setting(stage, recipe, world.data, world.bundle) as setting:
            model = setting.model
            language_model = model.encoder.model.model.language_model
            assert language_model.layers[0].mlp.up_proj.weight.dtype == torch.bfloat16
            block = model.decoder.transformer.transformer_blocks[0]
            # Stage 1 trains the decoder's own weights.
            expected = torch.float32 if stage == "pretrain_decoder" else torch.bfloat16
            assert block.attn.to_q.weight.dtype == expected
            scorer = setting.scorer("clip")
            assert next(scorer.parameters()).dtype == torch.bfloat16


def test_a_bundle_that_has_changed_meanwhile_is_refused(world):
    recipe = recipe_of(world, GFU, FULL_SCALE)
    with open_setting(GFU, recipe, world.data, world.bundle) as setting:
        setting.inputs["model"] = "0" * 64
        with pytest.raises(ModelError, match="has changed while the stage trained"):
            setting.assemble()
