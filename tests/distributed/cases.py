"""The training runs that are repeated with two processes: every stage, every objective."""

from stage_world import World, stage_recipe

from uae.recipe import Recipe

PRETRAIN, COLD = "pretrain_decoder", "cold_start"
GFU, UFG = "generation_for_understanding", "understanding_for_generation"
LARGE_STEPS = {"learning_rate": 0.002, "warmup_updates": 0}
EARLY = {"every": 2, "patience": 5, "num_samples": 1}
# A random model's drawings all earn nearly the same. Divided by a deviation near 0, by the
# objective or by Adam, rounding would become a signal; lengths make rewards that differ clearly.
CLEAR = {
    "rollout": {"group_size": 6, "max_new_tokens": 8},
    "rewards": {"length": {"weight": 0.5, "max_ratio": 1.1}},
}
NOT_SCALED = {"scale_by_std": False}
NFT = {
    "kind": "diffusion_nft",
    "beta": 0.5,
    "reference_weight": 0.1,
    "max_advantage": 5.0,
    "old_policy_decay": 0.5,
    "num_times": 2,
}
GUARD = {"kind": "grpo_guard", "clip_range": 1e-3, "kl_weight": 0.1, "max_advantage": 5.0}
CASES = {
    "pretrain": (PRETRAIN, {"optimizer": {"ema_every": 2}}),
    "pretrain-lora": (PRETRAIN, {"lora": {"rank": 2, "alpha": 4}, "accumulation_steps": 4}),
    "cold-start": (COLD, {}),
    "gfu-token": (GFU, CLEAR | {"objective": NOT_SCALED}),
    "gfu-sequence": (
        GFU,
        CLEAR
        | {
            "objective": NOT_SCALED | {"aggregation": "sequence"},
            "condition_adapter": "current",
            "batch_size": 8,
            "num_minibatches": 2,
            "num_noises": 2,
        },
    ),
    "ufg-flow-grpo": (UFG, {"objective": {"kl_weight": 0.1}, "early_stopping": EARLY}),
    "ufg-grpo-guard": (
        UFG,
        {
            "objective": GUARD,
            "rollout": {"step": "sde", "shared_initial_noise": False},
            "batch_size": 8,
            "num_minibatches": 2,
        },
    ),
    "ufg-diffusion-nft": (UFG, {"objective": NFT, "accumulation_steps": 2}),
    "ufg-sampled-captions": (
        UFG,
        {"captions": {"group_size": 2, "max_new_tokens": 8, "temperature": 1.0}},
    ),
}
SHARDED_ALONE = {  # what only sharding makes special, beside the cases above
    "cold-start-in-context": (COLD, {}),
    "pretrain-of-six": (PRETRAIN, {"batch_size": 6}),  # which two and three processes can share out
    "gfu-in-context": (GFU, CLEAR | {"objective": NOT_SCALED}),
    "gfu-one-token": (
        GFU,
        CLEAR | {"objective": NOT_SCALED, "rollout": {"group_size": 6, "max_new_tokens": 1}},
    ),
}
REPLICATED_ALONE = ("gfu-one-token",)  # whose rewards hardly differ: rounding becomes a signal
STREAMED = ("pretrain-lora", "cold-start", "gfu-sequence", "ufg-sampled-captions")
STREAMED_SHARDED = ("cold-start", "ufg-sampled-captions")
BROKEN = "scene-4"  # the picture of the streamed data that does not decode
IN_CONTEXT = ("cold-start-in-context", "gfu-in-context")
RESUMED = ("pretrain", "gfu-token", "ufg-flow-grpo", "ufg-diffusion-nft")
RESUMED_ELSEWHERE = ("pretrain", "ufg-diffusion-nft")  # with another number of processes
SHARDED_RESUMED = ("pretrain", "gfu-token", "ufg-diffusion-nft")
SHARDED_RESUMED_ELSEWHERE = ("pretrain", "ufg-diffusion-nft")
ONE_SHARDED = ("pretrain-lora", "cold-start", "gfu-one-token", "ufg-flow-grpo")  # by one process
NOT_FINITE = ("gfu-sequence", "ufg-diffusion-nft")  # once, in one process
FROZEN_WHOLE = ("pretrain-lora", "gfu-token")  # sharded, but for the frozen model: either one
RECOMPUTED = ("pretrain-lora", "cold-start-in-context", "gfu-token", "ufg-flow-grpo")
LOWERED = ("cold-start", "gfu-sequence", "ufg-grpo-guard")
FULL_SCALE = {  # as the published models are trained
    "frozen_dtype": "bfloat16",
    "scorer_dtype": "bfloat16",
    "recompute_blocks": True,
}
SHARDED_BFLOAT16 = {"frozen": "replicated", "compute": "bfloat16"}
CUT = 3  # the update in which runs are cut short: one after a checkpoint


def recipe_of(
    world: World, case: str, *, frozen: str | None = None, models: dict | None = None
) -> tuple[str, Recipe]:
    """Return a case's stage and recipe: five updates, mostly of four samples.

    Where `frozen` is given, the trained model is sharded, and the frozen one is as it says. In
    `models` are other keys of the recipe's section of this name.
    """
    stage, section = (CASES | SHARDED_ALONE)[case]
    section = {"num_updates": 5, "batch_size": 4, "checkpoint_every": 2} | section
    optimizer = LARGE_STEPS | section.pop("optimizer", {})
    objective = section.pop("objective", {})
    values = stage_recipe(world, stage, optimizer=optimizer, **section).model_dump()
    if "kind" in objective:
        values[stage]["objective"] = objective
    elif objective:
        values[stage]["objective"] |= objective
    if case in IN_CONTEXT:
        values["models"]["condition_source"] = "in_context"
    if frozen is not None:
        values["models"]["sharding"] = {"frozen": frozen, "compute": "float32"}
    values["models"] |= models or {}
    return stage, Recipe.model_validate(values)
