from pathlib import Path

import pytest
from distributed import stage_program
from distributed.cases import (
    BROKEN,
    CASES,
    CUT,
    FROZEN_WHOLE,
    FULL_SCALE,
    LOWERED,
    NOT_FINITE,
    RECOMPUTED,
    RESUMED,
    RESUMED_ELSEWHERE,
    SHARDED_ALONE,
    SHARDED_BFLOAT16,
    SHARDED_RESUMED,
    STREAMED,
    STREAMED_SHARDED,
)
from distributed.processes import run_world
from stage_world import make_world
from streamed_world import make_streamed


class Runs:
    """Folders of trained models: `<case>/<how>`, with their logs beside them in `<how>-log`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def of(self, case: str, how: str) -> Path:
        return self.folder / case / how

    def job(self, case: str, how: str, *, resumed: str | None = None, **more: object):
        checkpoints = str(self.of(case, f"{resumed}-checkpoints")) if resumed else None
        return {"case": case, "out": str(self.of(case, how)), "checkpoints": checkpoints} | more


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def runs(world, tmp_path_factory):
    """Every case with one process and with two, and some cut short and resumed: `2-1` is cut
    with two processes and resumed with one."""
    runs = Runs(tmp_path_factory.mktemp("runs"))
    alone = [runs.job(case, "one") for case in CASES]
    together = [runs.job(case, "two") for case in CASES]
    make_streamed(world, world.data.parent / "streamed", broken=BROKEN, unequal=True)
    alone += [runs.job(case, "streamed-one", streamed=True) for case in STREAMED]
    together += [runs.job(case, "streamed-two", streamed=True) for case in STREAMED]
    elsewhere = {"resumed": "streamed-2-1", "streamed": True}
    together.append(runs.job("pretrain-lora", "cut", cut=CUT, **elsewhere))
    for case in RESUMED:
        together.append(runs.job(case, "cut", resumed="2-2", cut=CUT))
        together.append(runs.job(case, "2-2", resumed="2-2"))
    for case in RESUMED_ELSEWHERE:
        alone.append(runs.job(case, "cut", resumed="1-2", cut=CUT))
        together.append(runs.job(case, "1-2", resumed="1-2"))
        together.append(runs.job(case, "cut", resumed="2-1", cut=CUT))
    for job in alone:
        stage_program.run_job(world, job)
    ended = run_world(stage_program.main, 2, world, 2, together)
    assert [one.code for one in ended] == [0, 0], "\n".join(one.output for one in ended)
    for case in RESUMED_ELSEWHERE:
        stage_program.run_job(world, runs.job(case, "2-1", resumed="2-1"))
    stage_program.run_job(world, runs.job("pretrain-lora", "streamed-2-1", **elsewhere))
    return runs


@pytest.fixture(scope="session")
def sharded(runs, world):
    """Every case sharded, with one process and with two, and what is cut short and resumed."""
    every = CASES | SHARDED_ALONE
    alone = [runs.job(case, "sharded-one", frozen="sharded") for case in every]
    alone += [runs.job(case, "one") for case in SHARDED_ALONE]
    together = [runs.job(case, "sharded-two", frozen="sharded") for case in every]
    together += [runs.job(case, "frozen-whole", frozen="replicated") for case in FROZEN_WHOLE]
    together += [runs.job(case, "two") for case in SHARDED_ALONE]
    for case in NOT_FINITE:
        together.append(runs.job(case, "nan", nan=CUT))
        together.append(runs.job(case, "sharded-nan", nan=CUT, frozen="sharded"))
    six = runs.job("pretrain-of-six", "2-3", resumed="2-3", frozen="sharded")
    together.append(six | {"cut": CUT})
    for case in RECOMPUTED:
        again = {"frozen": "sharded", "models": {"recompute_blocks": True}}
        together.append(runs.job(case, "recomputed", **again))
    for case in LOWERED:
        lowered = {"models": FULL_SCALE | {"sharding": SHARDED_BFLOAT16}}
        alone.append(runs.job(case, "lowered-one", **lowered))
        together.append(runs.job(case, "lowered-two", **lowered))
    shards = {"streamed": True, "frozen": "sharded"}
    together += [runs.job(case, "streamed-sharded", **shards) for case in STREAMED_SHARDED]
    resumed = []
    for case in SHARDED_RESUMED:
        for how in ("2-2", "2-1"):
            job = runs.job(case, "cut", resumed=f"sharded-{how}", cut=CUT, frozen="sharded")
            together.append(job)
        for how, jobs in (("2-2", together), ("2-1", resumed), ("1-2", together)):
            name = f"sharded-{how}"
            jobs.append(runs.job(case, name, resumed=name, frozen="sharded"))
        alone.append(runs.job(case, "cut", resumed="sharded-1-2", cut=CUT, frozen="sharded"))
    for job in alone:
        stage_program.run_job(world, job)
    ended = run_world(stage_program.main, 2, world, 2, together)
    assert [one.code for one in ended] == [0, 0], "\n".join(one.output for one in ended)
    for job in resumed:
        stage_program.run_job(world, job)
    ended = run_world(stage_program.main, 3, world, 3, [six])
    assert [one.code for one in ended] == [0] * 3, "\n".join(one.output for one in ended)
    return runs
