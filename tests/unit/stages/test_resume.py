"""Killed and resumed gives the weights and metrics of an uninterrupted run, to the bit."""

import pytest
import torch
from stage_world import rows, stage_recipe, train, weights

from uae.training.checkpoint import LocalCheckpoints
from uae.training.keeper import newest_checkpoint
from uae.training.loop import Run

GFU, UFG = "generation_for_understanding", "understanding_for_generation"
EARLY = {"every": 2, "patience": 5, "num_samples": 3}
NFT = {
    "kind": "diffusion_nft",
    "beta": 0.5,
    "reference_weight": 0.1,
    "max_advantage": 5.0,
    "old_policy_decay": 0.5,
    "num_times": 2,
    "clip_range": None,
    "kl_weight": None,
}
SAMPLED = {"group_size": 2, "max_new_tokens": 8, "temperature": 1.0}
BFLOAT16 = {"frozen_dtype": "bfloat16", "scorer_dtype": "bfloat16", "recompute_blocks": True}
SHARDED = {"sharding": {"frozen": "replicated", "compute": "bfloat16"}}
CASES = {
    "pretrain_decoder": ("pretrain_decoder", {}),
    "pretrain_decoder-lora": ("pretrain_decoder", {"lora": {"rank": 2, "alpha": 4}}),
    "cold_start": ("cold_start", {}),
    "gfu": (GFU, {"early_stopping": EARLY}),
    "gfu-current": (GFU, {"condition_adapter": "current", "num_noises": 2}),
    "gfu-minibatches": (GFU, {"batch_size": 4, "num_minibatches": 2, "accumulation_steps": 2}),
    "ufg": (UFG, {"early_stopping": EARLY}),
    "ufg-sampled": (UFG, {"captions": SAMPLED}),
    "ufg-nft": (UFG, {"objective": NFT}),
    "gfu-bfloat16": (GFU, {"condition_adapter": "current", "models": BFLOAT16}),
    "pretrain_decoder-bfloat16": ("pretrain_decoder", {"models": BFLOAT16 | SHARDED}),
    "ufg-bfloat16": (UFG, {"models": BFLOAT16 | SHARDED}),
}
NOT_REPEATABLE = ("seconds", "images_per_second", "tokens_per_second")


class PowerCut(BaseException):
    pass


def numbers(log_dir):
    return [
        {name: value for name, value in row.items() if name not in NOT_REPEATABLE}
        for row in rows(log_dir)
    ]


def recipe_of(world, case):
    stage, section = CASES[case]
    section = dict(section)
    objective, models = section.pop("objective", None), section.pop("models", {})
    recipe = stage_recipe(world, stage, num_updates=5, checkpoint_every=2, **section)
    if models:
        values = recipe.model_dump()
        recipe = type(recipe).model_validate(values | {"models": values["models"] | models})
    if objective:
        objective = {name: value for name, value in objective.items() if value is not None}
        recipe = with_objective(recipe, objective)
    return stage, recipe


def with_objective(recipe, objective):
    values = recipe.model_dump()
    values[UFG]["objective"] = objective
    return type(recipe).model_validate(values)


@pytest.mark.parametrize("case", CASES)
def test_killed_and_resumed_is_uninterrupted(world, tmp_path, monkeypatch, case):
    stage, recipe = recipe_of(world, case)
    summary = train(stage, recipe, world, tmp_path / "whole", log_dir=tmp_path / "whole-log")

    options = {"log_dir": tmp_path / "log"}
    checkpoints = LocalCheckpoints(tmp_path / "checkpoints")
    record = Run.record

    def cut(run, *args, **kwargs):
        if run.next_step == 3:  # one update beyond the checkpoint
            raise PowerCut
        record(run, *args, **kwargs)

    monkeypatch.setattr(Run, "record", cut)
    with pytest.raises(PowerCut):
        train(stage, recipe, world, tmp_path / "model", checkpoints=checkpoints, **options)
    monkeypatch.undo()
    assert newest_checkpoint(checkpoints.area) == "update-00000002"
    assert not (tmp_path / "model").exists()

    again = train(stage, recipe, world, tmp_path / "model", checkpoints=checkpoints, **options)
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "model")
    assert whole.keys() == resumed.keys()
    assert [name for name in whole if not torch.equal(whole[name], resumed[name])] == []
    assert numbers(tmp_path / "log") == numbers(tmp_path / "whole-log")
    assert again["loss"] == summary["loss"]


def test_resume_of_a_finished_stage_writes_the_same_model(world, tmp_path):
    stage, recipe = recipe_of(world, "ufg")
    checkpoints = LocalCheckpoints(tmp_path / "checkpoints")
    for name in ("one", "two"):
        train(stage, recipe, world, tmp_path / name, checkpoints=checkpoints)
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert all(torch.equal(one[name], two[name]) for name in one)
