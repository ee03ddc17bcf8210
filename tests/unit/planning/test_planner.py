"""Plans of the tiny model: arithmetic by hand, and what training really holds."""

from pathlib import Path

import pytest
import torch
from tiny_plans import BANDWIDTH, LINK, RATE, plan_of, recipe_of

from uae.models.autoencoder import AutoEncoder
from uae.models.tiny import CONDITION_TOKENS, tiny_autoencoder
from uae.planning.configs import find_configs
from uae.planning.execution import Execution, execution_of
from uae.planning.gpus import GIB, GPUS, STORE_BYTES_PER_SECOND, Gpu, custom_gpu
from uae.planning.memory import GATHERED_BLOCKS
from uae.planning.planner import STAGES
from uae.planning.stage_models import build_stage_models
from uae.recipe import LoraRecipe
from uae.rewards.reconstruction import load_scorer
from uae.training.distribution import current_world
from uae.training.ema import Ema
from uae.training.optimizer import Optimizer
from uae.training.sharding import keep_frozen_lowered, local, meeting_place, shard


def test_every_stage_with_updates_is_planned(base):
    plan = plan_of(base, cold_start={"num_updates": 0})
    assert [stage.stage for stage in plan.stages] == [s for s in STAGES if s != "cold_start"]
    assert plan.refusals == []
    assert plan.condition_tokens == CONDITION_TOKENS


def test_batches_by_hand(base):
    section = {
        "batch_size": 24,
        "num_minibatches": 2,
        "accumulation_steps": 3,
        "rollout": {"group_size": 4},
    }
    plan = plan_of(
        base, only="understanding_for_generation", gpus=4, understanding_for_generation=section
    )
    batches = plan.stages[0].batches
    # 2 minibatches of 12, 3 for each process; a pass may have 12 / 3 = 4 samples, and 3 divides.
    assert (batches.samples, batches.rollouts, batches.optimizer_steps) == (24, 96, 2)
    assert (batches.samples_per_process, batches.samples_per_pass) == (6, 3)
    assert batches.passes_per_process == 2


def test_time_and_cost_by_hand(base):
    assumed = {"fraction": 0.5, "price_per_gpu_hour": 3.0}
    plan = plan_of(base, only="pretrain_decoder", gpus=2, assumed=assumed)
    stage = plan.stages[0]
    floor = sum(phase.flops for phase in stage.phases) / RATE
    # Two processes of a ring send 2 * 1/2 of the float32 gradients.
    exchange = 4 * stage.num_trained / LINK
    assert stage.exchange_seconds == pytest.approx(exchange)
    assert stage.update_floor_seconds == pytest.approx(floor + exchange)
    assert stage.update_seconds == pytest.approx(2 * (floor + exchange))
    assert stage.rollouts_per_second == pytest.approx(2 / (2 * (floor + exchange)))
    start = sum(phase.flops for phase in stage.start) / RATE / 0.5  # one chunk of at most 32
    assert plan.hours == pytest.approx((start + 2 * stage.update_seconds) / 3600)
    assert plan.cost == pytest.approx(plan.hours * 2 * 3.0)


@pytest.mark.parametrize(
    ("rollout", "optimizer_steps", "longest"),
    [
        (10.0, 1, 10.0),
        (1.0, 1, 2.0),  # 30 s in 5 passes of 3 losses each
        (1.0, 2, 15.0),  # the second of two minibatches is finished
    ],
)
def test_longest_wait_after_sigterm_by_hand(base, rollout, optimizer_steps, longest):
    plan = plan_of(base, only="understanding_for_generation", assumed={"fraction": 0.5})
    phases = {phase.name: phase for phase in plan.stages[0].phases}
    seconds = {"draw": rollout, "train": 30.0, "optimizer step": 0.0}
    counts = {
        "optimizer_steps": optimizer_steps,
        "passes_per_process": 5,
        "losses_per_pass": 3,
    }
    stage = plan.stages[0].model_copy(
        update={
            "phases": [
                phases[name].model_copy(update={"floor_seconds": floor})
                for name, floor in seconds.items()
            ],
            "batches": plan.stages[0].batches.model_copy(update=counts),
            "checkpoint_bytes": 3 * STORE_BYTES_PER_SECOND,
        }
    )
    assert stage.longest_wait_seconds == pytest.approx(longest / 0.5 + 3)


def test_checkpoint_by_hand(base):
    ufg = plan_of(base, only="understanding_for_generation").stages[0]
    assert ufg.batches.losses_per_pass == 2  # steps of the window
    average = 1 if ufg.held_bytes["EMA"] else 0
    assert ufg.checkpoint_bytes == (3 + average) * 4 * ufg.num_trained  # weights, two moments


def test_main_memory_is_what_loading_and_the_end_hold(base):
    model = AutoEncoder.load(Path(base))
    modules = (
        model.encoder.model,
        model.connector,
        model.decoder.transformer,
        model.decoder.vae,
    )
    loaded = sum(t.nbytes for m in modules for t in [*m.parameters(), *m.buffers()])
    exact, lowered = (
        plan_of(base, only="cold_start", gpus=2, models=models)
        for models in ({}, BFLOAT16 | {"sharding": SHARDED})
    )
    assert exact.loading == lowered.loading == [2 * loaded]
    assert exact.stages[0].finishing_bytes == loaded
    alone = plan_of(base, only="cold_start", models=BFLOAT16 | {"sharding": SHARDED}).stages[0]
    kept = {k: v for k, v in alone.held_bytes.items() if k.startswith("weights")}
    whole = sum(kept.values()) - kept["weights: scorer"]
    assert lowered.stages[0].finishing_bytes == loaded + whole < 2 * loaded


def test_writing_is_bound_by_memory_where_memory_is_slow(base):
    slow = Gpu("slow", 1000 * GIB, 1e15, 1e15, 1e6, LINK)
    stage = plan_of(base, only="generation_for_understanding", gpu=slow).stages[0]
    writing = next(phase for phase in stage.phases if phase.name == "write captions")
    assert writing.is_memory_bound
    assert writing.floor_seconds == pytest.approx(writing.bytes_read / 1e6)


def test_between_machines_the_network_bounds_the_exchange(base):
    fast = Gpu("fast", 1000 * GIB, RATE, RATE, BANDWIDTH, 500e9)
    one, two = (
        plan_of(base, only="pretrain_decoder", gpu=fast, nodes=nodes, gpus=gpus).stages[0]
        for nodes, gpus in ((1, 2), (2, 1))
    )
    assert two.exchange_seconds == pytest.approx(10 * one.exchange_seconds)


def test_optimizer_gradients_and_ema_are_what_training_holds(base):
    held = (
        plan_of(base, only="pretrain_decoder", pretrain_decoder={"optimizer": {"ema_decay": 0.9}})
        .stages[0]
        .held_bytes
    )
    real = tiny_autoencoder()
    parameters = {
        **{f"c/{n}": p for n, p in real.connector.requires_grad_(True).named_parameters()},
        **{
            f"d/{n}": p for n, p in real.decoder.transformer.requires_grad_(True).named_parameters()
        },
    }
    recipe = recipe_of(base).pretrain_decoder.optimizer
    optimizer, ema = Optimizer(parameters, recipe, 1), Ema(parameters, 0.9, 1)
    for parameter in parameters.values():
        parameter.grad = torch.ones_like(parameter)
    assert held["gradients"] == sum(p.grad.nbytes for p in parameters.values())
    optimizer.step(0)
    moments = {n: t for n, t in optimizer.tensors().items() if not n.startswith("step/")}
    assert held["optimizer"] == sum(t.nbytes for t in moments.values()) > 0
    assert held["EMA"] == sum(t.nbytes for t in ema.average.values())
    assert held["LoRA"] == 0


def test_adapters_are_what_training_adds(base):
    held = plan_of(base, only="generation_for_understanding").stages[0].held_bytes
    real = tiny_autoencoder()
    real.encoder.add_lora("x", LoraRecipe(rank=2, alpha=4), 0)
    assert held["LoRA"] == sum(p.nbytes for p in real.encoder.lora_parameters("x").values())
    assert held["gradients"] == held["LoRA"]


def test_rollout_s_tensors_by_hand(base):
    stage = plan_of(base, only="understanding_for_generation").stages[0]
    memory = next(p for p in stage.phases if p.name == "decode and score").memory_bytes
    # 2 captions x 2 trajectories; a window of 2: 3 points, 2 means and the final latents.
    assert memory["trajectories"] == 4 * (3 + 2 + 1) * 4 * 4 * 4 * 4
    assert memory["pictures"] == 4 * 3 * 32 * 32 * 4
    assert memory["conditions"] == 4 * CONDITION_TOKENS * 32 * 4


def test_caches_by_hand(base):
    held = plan_of(base, only="pretrain_decoder").stages[0].held_bytes
    # 2 updates of 2 samples: latents, hidden states in float32, and the mask.
    assert held["caches"] == 4 * (4 * 4 * 4 * 4 + CONDITION_TOKENS * 32 * 4 + CONDITION_TOKENS)
    fewer = plan_of(base, only="pretrain_decoder", assumed={"num_samples": 3}).stages[0]
    assert fewer.held_bytes["caches"] == held["caches"] * 3 // 4


def test_shared_out_models_leave_the_rest_whole(base):
    sharding = {"sharding": {"frozen": "replicated", "compute": "float32"}}
    alone, two = (
        plan_of(base, only="pretrain_decoder", gpus=gpus, models=sharding).stages[0]
        for gpus in (1, 2)
    )
    models = build_stage_models(
        "pretrain_decoder",
        recipe_of(base),
        find_configs(base),
        execution_of(recipe_of(base)),
        CONDITION_TOKENS,
    )
    blocks = models.blocks["decoder"]
    half = blocks.stored - blocks.stored // 2
    name = "weights: decoder"
    assert two.held_bytes[name] == alone.held_bytes[name] - half
    assert two.held_bytes["gathered blocks"] == 2 * blocks.largest > 0
    assert two.held_bytes["weights: encoder"] == alone.held_bytes["weights: encoder"]
    assert two.held_bytes["optimizer"] == alone.held_bytes["optimizer"] - 2 * half
    train = next(p for p in two.phases if p.name == "train")
    assert train.exchanged_bytes == 2 * blocks.computing // 2  # two passes of one process of two
    assert train.is_exchange_bound == (train.exchanged_bytes / LINK > train.flops / RATE)


SHARDED = {"frozen": "replicated", "compute": "bfloat16"}
BFLOAT16 = {"frozen_dtype": "bfloat16", "scorer_dtype": "bfloat16", "recompute_blocks": True}


def held_really(base, models, stage):
    """Bytes of the weights of a setting that trains with the recipe, without adapters."""
    recipe = recipe_of(base, models=models)
    model, found = AutoEncoder.load(Path(base)), {}
    if models["sharding"] == "replicated":
        keep_frozen_lowered(model, stage, recipe)
    else:
        with meeting_place(current_world()):
            shard(model, stage, recipe, current_world(), torch.device("cpu"))
    parts = {
        "encoder": model.encoder.model,
        "connector": model.connector,
        "decoder": model.decoder.transformer,
        "VAE": model.decoder.vae,
    }
    for name, module in parts.items():
        tensors = [*module.parameters(), *module.buffers()]
        found[f"weights: {name}"] = sum(local(t.detach()).nbytes for t in tensors)
    scorer = load_scorer("clip", Path(base).parent, dtype=torch.bfloat16)
    tensors = [*scorer.parameters(), *scorer.buffers()]
    scored = getattr(recipe, stage).scorer_used is not None
    found["weights: scorer"] = sum(t.nbytes for t in tensors) if scored else 0
    return found


@pytest.mark.parametrize("sharding", ["replicated", SHARDED])
def test_weights_in_bfloat16_are_those_that_training_holds_to_the_byte(base, sharding):
    models = BFLOAT16 | {"sharding": sharding}
    exact, lowered = (
        {s.stage: s.held_bytes for s in plan_of(base, models=found).stages}
        for found in ({}, models)
    )
    for stage in STAGES:
        held, expected = lowered[stage], held_really(base, models, stage)
        assert {name: held[name] for name in expected} == expected
        assert held["weights: encoder"] < 0.8 * exact[stage]["weights: encoder"]
        for part in ("LoRA", "gradients", "optimizer", "weights: connector", "weights: VAE"):
            assert held[part] == exact[stage][part]


def test_what_fsdp_copies_together(base):
    stage = "understanding_for_generation"

    def drawing(gpus, models):
        planned = plan_of(base, only=stage, gpus=gpus, models=models).stages[0]
        phase = next(p for p in planned.phases if p.name == "draw")
        return planned.held_bytes["gathered blocks"], phase.memory_bytes.get("gathered models", 0)

    assert drawing(1, BFLOAT16 | {"sharding": SHARDED}) == (0, 0)
    one_block, decoder = drawing(2, BFLOAT16 | {"sharding": SHARDED})
    assert one_block // GATHERED_BLOCKS < decoder < one_block  # of its two the last is smaller
    # From float32 both models are copied, also by a process that is alone.
    alone = drawing(1, {"sharding": SHARDED})
    assert alone[0] == one_block
    assert alone[1] > decoder


def test_float32_around_blocks_in_bfloat16_takes_the_rate_of_tf32(base):
    stage = plan_of(base, only="understanding_for_generation", models=BFLOAT16).stages[0]
    phase = next(p for p in stage.phases if p.name == "train")
    assert 0 < phase.float32_flops < phase.flops
    low, exact = phase.flops - phase.float32_flops, phase.float32_flops
    assert phase.floor_seconds == pytest.approx(low / RATE + exact / (RATE / 2))


def test_execution_is_the_recipe_s(base):
    found = execution_of(recipe_of(base, models=BFLOAT16 | {"sharding": SHARDED}))
    assert found == Execution(
        dtype="bfloat16",
        stored="bfloat16",
        scorer="bfloat16",
        recompute_blocks=True,
        sharding="trained",
        caches="kept",
    )
    assert found.contradiction() is None
    assert "compute in it" in found.model_copy(update={"dtype": "float32"}).contradiction()
    whole = {"stored": "float32", "sharding": "replicated"}
    assert "without sharding" in found.model_copy(update=whole).contradiction()


def test_gpus():
    assert GPUS["h100-80gb"].bfloat16_flops == 989e12
    found = custom_gpu(48, 100, 0.9)
    assert (found.memory_bytes, found.bfloat16_flops) == (48 * GIB, 1e14)
    assert found.usable_bytes == int(48 * GIB * 0.92)
    assert found.memory_bytes_per_second == 0.9e12
