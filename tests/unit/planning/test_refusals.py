"""What cannot work is refused with the nearest thing that can."""

from tiny_plans import gpu_of, plan_of


def test_indivisible_batch_is_refused_with_both_ways_out(base):
    plan = plan_of(base, gpus=4, only="cold_start", cold_start={"batch_size": 6})
    assert plan.stages == []
    (refusal,) = plan.refusals
    assert "cold_start: batch_size=6" in refusal
    assert "the nearest batch_size that can is 8" in refusal
    assert "3 or 6 processes can share out this batch" in refusal


FEW = {"num_samples": 1}  # so that updates need more than the start does


def memory_of(base, stage, **section):
    return plan_of(base, only=stage, assumed=FEW, **{stage: section}).stages[0].memory_bytes


def test_too_large_a_pass_is_refused_with_the_accumulation_that_fits(base):
    stage, batch = "pretrain_decoder", 16
    needs = {n: memory_of(base, stage, batch_size=batch, accumulation_steps=n) for n in (2, 4)}
    assert needs[4] < needs[2]
    plan = plan_of(
        base,
        only=stage,
        gpu=gpu_of(needs[4]),
        assumed=FEW,
        pretrain_decoder={"batch_size": batch},
    )
    (refusal,) = plan.refusals
    assert refusal.startswith("pretrain_decoder: needs ")
    assert "what fits: accumulation_steps 4 (" in refusal


def test_too_large_a_rollout_is_refused_with_the_gpus_and_the_batch_that_fit(base):
    stage, section = "understanding_for_generation", {"batch_size": 16, "accumulation_steps": 16}
    ten = memory_of(base, stage, batch_size=10, accumulation_steps=10)
    plan = plan_of(base, only=stage, gpu=gpu_of(ten), assumed=FEW, **{stage: section})
    (refusal,) = plan.refusals
    assert "most in phase 'decode and score'" in refusal
    assert "2 GPUs with accumulation_steps 16 (" in refusal
    assert "or batch_size 10 with accumulation_steps 10 (" in refusal


def test_too_large_a_group_is_refused_with_the_group_that_fits(base):
    stage = "understanding_for_generation"
    section = {"batch_size": 1, "rollout": {"group_size": 8}}
    fits = memory_of(base, stage, batch_size=1, rollout={"group_size": 5})
    plan = plan_of(base, only=stage, gpu=gpu_of(fits), assumed=FEW, **{stage: section})
    assert "what fits: rollout.group_size 5 with batch_size 1 (" in plan.refusals[0]


def test_weights_that_do_not_fit_are_refused_by_their_largest_part(base):
    plan = plan_of(base, only="pretrain_decoder", gpu=gpu_of(1000))
    assert "no batch, group or number of processes fits" in plan.refusals[0]
    assert "most of it" in plan.refusals[0]
