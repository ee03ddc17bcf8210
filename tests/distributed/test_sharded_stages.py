"""Sharded training is replicated training: the same curves and weights in every stage.

Worst case measured on a CPU: one process, sharded or not, 4e-7 in a weight; two processes, sharded
or not, the same bits; one process and two sharded ones 4e-6, as replicated ones.
"""

import json
import re
import signal
import time
from datetime import timedelta

import pytest
import torch
from distributed import stage_program
from distributed.cases import (
    CASES,
    CUT,
    FROZEN_WHOLE,
    LOWERED,
    NOT_FINITE,
    ONE_SHARDED,
    RECOMPUTED,
    REPLICATED_ALONE,
    SHARDED_ALONE,
    SHARDED_RESUMED,
    SHARDED_RESUMED_ELSEWHERE,
    recipe_of,
)
from distributed.comparison import curve, largest_difference, require_same
from distributed.processes import run_world
from stage_world import train, weights

from uae.recipe import Recipe
from uae.store.embedded import EmbeddedStore
from uae.training import watchdog
from uae.training.skipped import FILE

SAME_SIZE_TOLERANCE = 2e-6  # the same samples in the same passes; sums of gradients alone differ


def bits_differ(one, other):
    return [name for name in one if not torch.equal(one[name], other[name])]


@pytest.mark.parametrize("case", ONE_SHARDED)
def test_one_sharded_process_trains_what_one_process_trains(sharded, case):
    one, other = weights(sharded.of(case, "one")), weights(sharded.of(case, "sharded-one"))
    assert largest_difference(one, other) <= SAME_SIZE_TOLERANCE
    require_same(sharded.of(case, "one"), sharded.of(case, "sharded-one"))


@pytest.mark.parametrize(
    ("case", "how"),
    [(case, "sharded-two") for case in [*CASES, *REPLICATED_ALONE]]
    + [(case, "frozen-whole") for case in FROZEN_WHOLE],
)
def test_two_sharded_processes_train_what_two_replicated_ones_train(sharded, case, how):
    two, other = weights(sharded.of(case, "two")), weights(sharded.of(case, how))
    assert largest_difference(two, other) <= SAME_SIZE_TOLERANCE
    require_same(sharded.of(case, "two"), sharded.of(case, how))


@pytest.mark.parametrize("case", sorted({*CASES, *SHARDED_ALONE} - {*REPLICATED_ALONE}))
def test_two_sharded_processes_train_what_one_process_trains(sharded, case):
    require_same(sharded.of(case, "one"), sharded.of(case, "sharded-two"))


@pytest.mark.parametrize("case", SHARDED_RESUMED)
def test_resumed_with_as_many_processes_is_uninterrupted_to_the_bit(sharded, case):
    whole, resumed = sharded.of(case, "sharded-two"), sharded.of(case, "sharded-2-2")
    assert bits_differ(weights(whole), weights(resumed)) == []
    assert curve(whole) == curve(resumed)


@pytest.mark.parametrize("case", SHARDED_RESUMED_ELSEWHERE)
@pytest.mark.parametrize("how", ["sharded-1-2", "sharded-2-1"])
def test_resumed_with_another_number_of_processes_goes_on(sharded, case, how):
    require_same(sharded.of(case, "one"), sharded.of(case, how))


def test_two_sharded_processes_are_resumed_with_three(sharded):
    require_same(sharded.of("pretrain-of-six", "one"), sharded.of("pretrain-of-six", "2-3"))


@pytest.mark.parametrize("case", NOT_FINITE)
def test_what_is_not_finite_in_one_process_is_skipped_in_all(sharded, case):
    replicated, shared_out = sharded.of(case, "nan"), sharded.of(case, "sharded-nan")
    difference = largest_difference(weights(replicated), weights(shared_out))
    assert difference <= SAME_SIZE_TOLERANCE
    require_same(replicated, shared_out)
    saved = json.loads(shared_out.with_name("sharded-nan-log").joinpath(FILE).read_text())
    assert [(one["update"], one["kind"]) for one in saved] == [(CUT, "loss")]
    assert 0 < len(saved[0]["samples"]) <= 4
    assert [row["skipped_updates"] for row in curve(shared_out)] == [0] * CUT + [1] * (5 - CUT)
    assert all(value == value for row in curve(shared_out) for value in row.values())
    assert largest_difference(weights(sharded.of(case, "two")), weights(replicated)) > 1e-4


def test_a_process_that_hangs_in_a_transfer_is_named(sharded, world):
    job = sharded.job("pretrain", "hung", frozen="sharded", hangs=CUT)
    started = time.monotonic()
    ended = run_world(stage_program.main, 2, world, 2, [job], timedelta(seconds=4))
    assert ended[0].code == 1
    expected = r"process 1 of 2 has not come; it is at .*stage_program.py line \d+ in broken"
    assert re.search(expected, ended[0].output)
    assert ended[1].code == watchdog.EXIT_CODE
    assert time.monotonic() - started < 60


def test_every_process_writes_its_part_and_the_two_newest_checkpoints_are_kept(sharded):
    kept = sharded.of("pretrain", "sharded-2-2-checkpoints")
    assert {path.name for path in kept.glob("update-*")} == {"update-00000004", "update-00000005"}
    (newest,) = kept.glob("update-00000005/*")
    sizes = [(newest / f"rows-0000{n}-000.safetensors").stat().st_size for n in (0, 1)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.1)
    assert (newest / "MANIFEST.json").is_file()


def test_a_killed_process_costs_the_updates_since_the_checkpoint(sharded, world):
    job = sharded.kept("pretrain", "killed", frozen="sharded")
    ended = run_world(stage_program.main, 2, world, 2, [job | {"killed": CUT}])
    assert [one.code for one in ended] == [1, -signal.SIGKILL]
    assert not sharded.of("pretrain", "killed").exists()
    ended = run_world(stage_program.main, 2, world, 2, [job])
    assert [one.code for one in ended] == [0, 0], "\n".join(one.output for one in ended)
    whole = weights(sharded.of("pretrain", "sharded-two"))
    assert bits_differ(whole, weights(sharded.of("pretrain", "killed"))) == []


def test_sigterm_to_one_ends_all_with_a_checkpoint_of_that_update(sharded, world):
    job = sharded.kept("pretrain", "terminated", frozen="sharded")
    ended = run_world(stage_program.main, 2, world, 2, [job | {"terminated": CUT}])
    assert [one.code for one in ended] == [-signal.SIGTERM] * 2
    kept = sharded.of("pretrain", "terminated-checkpoints")
    assert len([*kept.glob(f"update-{CUT + 1:08d}/*/MANIFEST.json")]) == 1
    ended = run_world(stage_program.main, 2, world, 2, [job])
    assert [one.code for one in ended] == [0, 0], "\n".join(one.output for one in ended)
    whole = weights(sharded.of("pretrain", "sharded-two"))
    assert bits_differ(whole, weights(sharded.of("pretrain", "terminated"))) == []


def test_a_checkpoint_that_is_cut_off_is_none(sharded, world):
    job = sharded.kept("pretrain", "half", frozen="sharded")
    ended = run_world(stage_program.main, 2, world, 2, [job | {"half": 4}])
    assert [one.code for one in ended] == [-signal.SIGKILL, 1]
    kept = sharded.of("pretrain", "half-checkpoints")
    assert sorted(path.name for path in kept.glob("update-*")) == [
        "update-00000002",
        "update-00000004",
    ]
    (cut_off,) = kept.glob("update-00000004/*")
    assert (cut_off / "state.json").exists()
    assert not (cut_off / "MANIFEST.json").exists()
    ended = run_world(stage_program.main, 2, world, 2, [job])
    assert [one.code for one in ended] == [0, 0], "\n".join(one.output for one in ended)
    whole = weights(sharded.of("pretrain", "sharded-two"))
    assert bits_differ(whole, weights(sharded.of("pretrain", "half"))) == []


@pytest.mark.parametrize("case", ["pretrain-lora", "ufg-flow-grpo"])
def test_computing_in_bfloat16_trains_nearly_the_same_and_keeps_float32(
    sharded, world, case, tmp_path
):
    stage, recipe = recipe_of(world, case, frozen="sharded")
    values = recipe.model_dump()
    values["models"]["sharding"]["compute"] = "bfloat16"
    log = tmp_path / "bf16-log"
    train(stage, Recipe.model_validate(values), world, tmp_path / "bf16", log_dir=log)
    exact, found = curve(sharded.of(case, "sharded-one"))[0], curve(tmp_path / "bf16")[0]
    name = "grad_norm"  # of the same weights and samples, so that only the rounding differs
    assert exact[name] == pytest.approx(found[name], rel=0.05)
    assert exact[name] != pytest.approx(found[name], rel=1e-5)
    trained = weights(tmp_path / "bf16")
    assert {tensor.dtype for tensor in trained.values()} == {torch.float32}


@pytest.mark.parametrize("case", RECOMPUTED)
def test_recomputed_blocks_train_the_same(sharded, case):
    kept, again = sharded.of(case, "sharded-two"), sharded.of(case, "recomputed")
    assert bits_differ(weights(kept), weights(again)) == []
    assert curve(kept) == curve(again)


@pytest.mark.parametrize("case", LOWERED)
def test_frozen_blocks_in_bfloat16_with_one_process_and_with_two(sharded, world, case):
    exact, one, two = (
        sharded.of(case, how) for how in ("sharded-two", "lowered-one", "lowered-two")
    )
    before, trained = weights(world.bundle), weights(exact)
    for found in (one, two):  # what is not trained is saved as it was, not as it was kept
        after = weights(found)
        assert {tensor.dtype for tensor in after.values()} == {torch.float32}
        frozen = [n for n in before if n in trained and torch.equal(before[n], trained[n])]
        assert [name for name in frozen if not torch.equal(before[name], after[name])] == []
    name, first = "grad_norm", [curve(found)[0] for found in (exact, one, two)]
    if case == "gfu-sequence":  # its captions are drawn, and may be others
        assert max(row["rollout/token_gap"] for row in curve(two)) < 0.05
        return
    assert first[1][name] == pytest.approx(first[0][name], rel=0.1)
    assert first[2][name] == pytest.approx(first[1][name], rel=0.02)


def test_a_failure_of_one_is_everyone_s_error(sharded, world):
    job = sharded.job("ufg-flow-grpo", "failed", frozen="sharded", fails=CUT)
    ended = run_world(stage_program.main, 2, world, 2, [job])
    assert [one.code for one in ended] == [1, 1]
    assert "picture-7.png is no picture" in ended[1].output
    assert "process 1 of 2 failed: picture-7.png is no picture" in ended[0].output


def test_checkpoints_in_a_bucket_resume_with_one_process_and_with_two(sharded, world, tmp_path):
    with EmbeddedStore(tmp_path / "server") as server:
        endpoint = server.store().endpoint
        for size in (2, 1):
            where = {"endpoint": endpoint, "prefix": f"runs/1/then-{size}"}
            where["environment"] = server.environment()
            job = sharded.job("pretrain", f"bucket-{size}", frozen="sharded")
            job["checkpoints"] = where
            jobs = ([job | {"cut": CUT}], 2), ([job], size)
            for todo, processes in jobs:
                ended = run_world(stage_program.main, processes, world, processes, todo)
                output = "\n".join(one.output for one in ended)
                assert [one.code for one in ended] == [0] * processes, output
            found = {key.split("/")[3] for key in server.store().list(where["prefix"])}
            assert found == {"opened", "update-00000004", "update-00000005"}
    whole = weights(sharded.of("pretrain", "sharded-two"))
    assert bits_differ(whole, weights(sharded.of("pretrain", "bucket-2"))) == []
    require_same(sharded.of("pretrain", "one"), sharded.of("pretrain", "bucket-1"))
