"""Every stage raises what it is there to raise, on a task of seconds."""

from stage_world import rows, stage_recipe, train

GFU, UFG = "generation_for_understanding", "understanding_for_generation"
NO_GUARDS = {"length": {"weight": 0}, "transcription": {"weight": 0}, "repetition": {"weight": 0}}
LORA = {"rank": 8, "alpha": 16}


def steps_of(learning_rate):
    return {"learning_rate": learning_rate, "warmup_updates": 0, "ema_decay": None}


def test_stage_1_learns_to_draw_what_the_caption_says(pretrained):
    _, summary = pretrained
    assert summary["validation/loss"] < 0.8 * summary["start/validation/loss"]
    assert summary["validation/loss"] < 0.8 * summary["validation/loss_shuffled"]


def test_cold_start_raises_the_heldout_reconstruction(world, tmp_path):
    recipe = stage_recipe(
        world,
        "cold_start",
        num_updates=20,
        batch_size=12,
        checkpoint_every=20,
        optimizer=steps_of(1e-2),
    )
    summary = train("cold_start", recipe, world, tmp_path / "out")
    assert summary["heldout/reward"] > summary["start/heldout/reward"] + 0.004


def test_gfu_raises_the_reward_of_captions(color_world, pretrained, tmp_path):
    world, _ = pretrained
    recipe = stage_recipe(
        color_world,  # scorers stand beside the base
        GFU,
        num_updates=20,
        batch_size=6,  # every picture in every update: rewards can be compared
        lora=LORA,
        rollout={"group_size": 8, "max_new_tokens": 6},
        num_noises=2,
        sampler={"num_steps": 4},
        rewards=NO_GUARDS,
        optimizer=steps_of(5e-3),
    )
    train(GFU, recipe, world, tmp_path / "out", log_dir=tmp_path)
    rewards = [row["reward/mean"] for row in rows(tmp_path)]
    assert sum(rewards[-4:]) / 4 > sum(rewards[:4]) / 4 + 0.005


def test_ufg_raises_the_reward_of_drawings(world, tmp_path):
    recipe = stage_recipe(
        world,
        UFG,
        num_updates=25,
        batch_size=12,  # every picture in every update: rewards can be compared
        lora=LORA,
        rollout={"group_size": 8},
        objective={"clip_range": 0.01},  # belongs to a mean over 4 x 4 x 4 latents
        optimizer=steps_of(3e-2),
    )
    train(UFG, recipe, world, tmp_path / "out", log_dir=tmp_path)
    rewards = [row["reward/mean"] for row in rows(tmp_path)]
    assert sum(rewards[-5:]) / 5 > sum(rewards[:5]) / 5 + 0.005
