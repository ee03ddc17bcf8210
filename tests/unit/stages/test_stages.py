import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from stage_world import STAGES, World, rows, stage_recipe, train, weights

from uae.errors import DataError, ModelError, TrainingError
from uae.models.autoencoder import AutoEncoder
from uae.models.bundle import bundle_sha
from uae.models.tiny import tiny_recipe
from uae.recipe import Recipe
from uae.stages.pretrain_decoder import read_captions
from uae.stages.setting import open_setting

GFU, UFG = "generation_for_understanding", "understanding_for_generation"
LARGE_STEPS = {"learning_rate": 0.01, "warmup_updates": 0}
TRAINED = {
    "pretrain_decoder": {"connector", "transformer"},
    "cold_start": {"encoder", "connector", "transformer"},
    GFU: {"caption_adapters"},
    UFG: {"transformer"},
}


def changed_parts(before, after):
    names = before.keys() | after.keys()
    return {
        name.split("/")[0]
        for name in names
        if name not in before or name not in after or not torch.equal(before[name], after[name])
    }


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_changes_its_part_of_the_model_and_nothing_else(world, tmp_path, stage):
    recipe = stage_recipe(world, stage, optimizer=LARGE_STEPS)
    train(stage, recipe, world, tmp_path / "out")
    assert changed_parts(weights(world.bundle), weights(tmp_path / "out")) == TRAINED[stage]
    info = json.loads((tmp_path / "out/model.json").read_text())
    assert (info["stage"], info["parent"]) == (stage, bundle_sha(world.bundle))


@pytest.mark.parametrize("source", ["reencode_text", "in_context"])
def test_stage_1_learns_from_the_conditions_that_later_stages_use(world, source):
    captions = ["a red car", "a large blue car at the left"]
    recipe = tiny_recipe(models={"base": str(world.bundle), "condition_source": source})
    with open_setting("pretrain_decoder", recipe, world.data, world.bundle) as setting:
        model, images = setting.model, setting.images(setting.train, [0, 1])
        with torch.no_grad():
            context = model.connect(*read_captions(model, captions, images))
            if source == "reencode_text":
                expected = model.condition_from_captions(captions)
            else:
                ids = [[*row, model.encoder.tokenizer.eos_token_id] for row in
                       model.encoder.token_ids(captions)]  # fmt: skip
                rows = [torch.tensor([row]) for row in ids]
                expected = torch.cat([
                    model.condition_in_context(images[[n]], row, torch.ones(row.shape))
                    for n, row in enumerate(rows)
                ])  # fmt: skip
    torch.testing.assert_close(context, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("stage", STAGES)
def test_no_updates_leave_the_model_as_it_was(world, tmp_path, stage):
    recipe = stage_recipe(world, stage, num_updates=0)
    assert train(stage, recipe, world, tmp_path / "out")["num_updates"] == 0
    before, after = weights(world.bundle), weights(tmp_path / "out")
    after = {name: value for name, value in after.items() if not name.startswith("caption_")}
    assert changed_parts(before, after) == set()


def test_current_condition_adapter_is_merged_into_the_encoder(world, tmp_path):
    recipe = stage_recipe(world, GFU, condition_adapter="current", optimizer=LARGE_STEPS)
    train(GFU, recipe, world, tmp_path / "out")
    assert changed_parts(weights(world.bundle), weights(tmp_path / "out")) == {"encoder"}


def test_a_second_caption_adapter_is_kept_beside_the_first(world, tmp_path):
    recipe = stage_recipe(world, GFU)
    train(GFU, recipe, world, tmp_path / "one")
    again = World(world.data, tmp_path / "one", world.clip)
    train(GFU, recipe, again, tmp_path / "two")
    kept = sorted(path.name for path in (tmp_path / "two/caption_adapters").iterdir())
    assert kept == ["0", "1"]
    assert AutoEncoder.load(tmp_path / "two").caption_adapters == ["caption_0", "caption_1"]


@pytest.mark.parametrize("stage", STAGES)
def test_in_context_conditions_train_too(world, tmp_path, stage):
    values = stage_recipe(world, stage, optimizer=LARGE_STEPS).model_dump()
    values["models"]["condition_source"] = "in_context"
    train(stage, Recipe.model_validate(values), world, tmp_path / "out")
    assert changed_parts(weights(world.bundle), weights(tmp_path / "out")) == TRAINED[stage]
    info = json.loads((tmp_path / "out/model.json").read_text())
    assert info["condition_source"] == "in_context"


def test_length_of_conditions_may_be_the_recipes(world, tmp_path):
    values = stage_recipe(world, "pretrain_decoder").model_dump()
    of_base = json.loads((world.bundle / "model.json").read_text())["condition_tokens"]
    values["models"]["condition_tokens"] = of_base - 4
    recipe = Recipe.model_validate(values)
    with open_setting("pretrain_decoder", recipe, world.data, world.bundle) as setting:
        assert setting.model.condition_from_captions(["a red car"]).shape[1] == of_base - 4
    train("pretrain_decoder", recipe, world, tmp_path / "out")
    assert json.loads((tmp_path / "out/model.json").read_text())["condition_tokens"] == of_base - 4


@pytest.mark.parametrize("stage", STAGES)
def test_accumulation_changes_memory_and_not_the_result(world, tmp_path, stage):
    losses = []
    for accumulation_steps in (1, 2, 4):
        log_dir = tmp_path / str(accumulation_steps)
        recipe = stage_recipe(
            world,
            stage,
            batch_size=4,
            num_updates=2,
            accumulation_steps=accumulation_steps,
        )
        train(stage, recipe, world, tmp_path / "out", log_dir=log_dir)
        losses.append([row["grad_norm"] for row in rows(log_dir)])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    assert losses[2] == pytest.approx(losses[0], rel=1e-3)


@pytest.mark.parametrize("stage", [GFU, UFG])
def test_first_ratio_is_one_and_kl_starts_at_zero(world, tmp_path, stage):
    recipe = stage_recipe(world, stage, num_updates=3, optimizer=LARGE_STEPS)
    train(stage, recipe, world, tmp_path / "out", log_dir=tmp_path)
    found = rows(tmp_path)
    assert all(row["ratio/max_deviation"] <= 1e-5 for row in found)
    assert found[0]["kl"] == 0
    if stage == GFU:
        assert found[-1]["kl"] > 0


def test_ratio_beyond_the_tolerance_stops_the_stage(world, tmp_path):
    recipe = stage_recipe(world, GFU, ratio_tolerance=1e-12)
    with pytest.raises(TrainingError, match="ratio_tolerance"):
        train(GFU, recipe, world, tmp_path / "out")


def test_loss_that_is_not_finite_names_its_samples(world, tmp_path):
    bundle = shutil.copytree(world.bundle, tmp_path / "bundle")
    file = bundle / "connector/connector.safetensors"
    save_file({n: t * torch.nan for n, t in load_file(file).items()}, file)
    values = stage_recipe(world, "pretrain_decoder").model_dump()
    values["faults"]["max_skipped_updates"] = 1
    recipe = Recipe.model_validate(values)
    expected = r"update 1: the loss is not finite for samples scene-\d+, scene-\d+; 2 updates"
    with pytest.raises(TrainingError, match=expected):
        train("pretrain_decoder", recipe, World(world.data, bundle, world.clip), tmp_path / "out")


@pytest.mark.parametrize("kind", ["flow_grpo", "grpo_guard"])
@pytest.mark.parametrize("step", ["sde", "cps"])
def test_trajectory_objectives_train_with_either_step(world, tmp_path, kind, step):
    recipe = stage_recipe(
        world,
        UFG,
        objective={"kind": kind, "kl_weight": 0.1},
        rollout={"step": step, "shared_initial_noise": False},
        optimizer=LARGE_STEPS,
        num_updates=3,
    )
    train(UFG, recipe, world, tmp_path / "out", log_dir=tmp_path)
    assert [row["kl"] > 0 for row in rows(tmp_path)] == [False, True, True]


def test_guidance_uses_the_empty_captions_condition(world, tmp_path):
    recipe = stage_recipe(
        world,
        UFG,
        rollout={"guidance_scale": 2.0},
        early_stopping={"every": 1, "patience": 2, "num_samples": 2},
    )
    assert "set_aside/reward" in train(UFG, recipe, world, tmp_path / "out")


def test_picture_size_that_the_decoder_cannot_draw_is_an_error(world, tmp_path):
    values = stage_recipe(world, UFG).model_dump()
    values["data"]["image_size"] = 30
    with pytest.raises(ModelError, match="image_size 30"):
        train(UFG, Recipe.model_validate(values), world, tmp_path / "out")


def test_missing_split_is_an_error(world, tmp_path):
    shutil.copytree(world.data / "train", tmp_path / "data/train")
    with pytest.raises(DataError, match="heldout"):
        train(
            "cold_start",
            stage_recipe(world, "cold_start"),
            World(tmp_path / "data", world.bundle, world.clip),
            tmp_path / "out",
        )


def test_captions_that_do_not_fit_are_counted(world, tmp_path):
    data = shutil.copytree(world.data, tmp_path / "data")
    file = data / "train/captions.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    for row in lines[:6]:
        row["caption"] = "word " * 200
    file.write_text("".join(json.dumps(row) + "\n" for row in lines))
    recipe = stage_recipe(world, "pretrain_decoder", batch_size=12, num_updates=1)
    summary = train(
        "pretrain_decoder", recipe, World(data, world.bundle, world.clip), tmp_path / "out"
    )
    assert summary["truncated_captions_share"] == 0.5
