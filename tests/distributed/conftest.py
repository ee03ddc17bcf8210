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
    ONE_SHARDED,
    RECOMPUTED,
    REPLICATED_ALONE,
    RESUMED,
    RESUMED_ELSEWHERE,
    SHARDED_ALONE,
    SHARDED_BFLOAT16,
    SHARDED_RESUMED,
    SHARDED_RESUMED_ELSEWHERE,
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

    def job(self, case: str, how: str, **more: object):
        return {"case": case, "out": str(self.of(case, how))} | more

    def kept(self, case: str, how: str, **more: object):
        """A job with checkpoints."""
        return self.job(case, how, checkpoints=str(self.of(case, f"{how}-checkpoints"))) | more

    def resumed(self, case: str, how: str, *, after: str, **more: object):
        """A job that begins with a copy of another one's checkpoints, which others resume, too."""
        begins = str(self.of(case, f"{after}-checkpoints"))
        return self.kept(case, how, begins_with=begins) | more


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
    together.append(runs.kept("pretrain-lora", "streamed-cut", cut=CUT, streamed=True))
    for case in RESUMED:
        together.append(runs.kept(case, "cut", cut=CUT))
        together.append(runs.resumed(case, "2-2", after="cut"))
    for case in RESUMED_ELSEWHERE:
        alone.append(runs.kept(case, "cut-alone", cut=CUT))
        together.append(runs.resumed(case, "1-2", after="cut-alone"))
    resumed = [runs.resumed(case, "2-1", after="cut") for case in RESUMED_ELSEWHERE]
    resumed.append(
        runs.resumed("pretrain-lora", "streamed-2-1", after="streamed-cut", streamed=True)
    )
    run_all(world, alone, together, resumed)
    return runs


@pytest.fixture(scope="session")
def sharded(runs, world):
    """Every case sharded, with one process and with two, and what is cut short and resumed."""
    shards = {"frozen": "sharded"}
    alone = [runs.job(case, "sharded-one", **shards) for case in ONE_SHARDED]
    alone += [runs.job(case, "one") for case in SHARDED_ALONE]
    together = [runs.job(case, "sharded-two", **shards) for case in CASES | SHARDED_ALONE]
    together += [runs.job(case, "two") for case in REPLICATED_ALONE]
    together += [runs.job(case, "frozen-whole", frozen="replicated") for case in FROZEN_WHOLE]
    for case in NOT_FINITE:
        together.append(runs.job(case, "nan", nan=CUT))
        together.append(runs.job(case, "sharded-nan", nan=CUT, **shards))
    together.append(runs.kept("pretrain-of-six", "sharded-cut", cut=CUT, **shards))
    for case in RECOMPUTED:
        again = {"models": {"recompute_blocks": True}}
        together.append(runs.job(case, "recomputed", **again, **shards))
    for case in LOWERED:
        lowered = {"models": FULL_SCALE | {"sharding": SHARDED_BFLOAT16}}
        alone.append(runs.job(case, "lowered-one", **lowered))
        together.append(runs.job(case, "lowered-two", **lowered))
    together += [
        runs.job(case, "streamed-sharded", streamed=True, **shards) for case in STREAMED_SHARDED
    ]
    for case in SHARDED_RESUMED:
        together.append(runs.kept(case, "sharded-cut", cut=CUT, **shards))
        together.append(runs.resumed(case, "sharded-2-2", after="sharded-cut", **shards))
    for case in SHARDED_RESUMED_ELSEWHERE:
        alone.append(runs.kept(case, "sharded-cut-alone", cut=CUT, **shards))
        together.append(runs.resumed(case, "sharded-1-2", after="sharded-cut-alone", **shards))
    resumed = [
        runs.resumed(case, "sharded-2-1", after="sharded-cut", **shards)
        for case in SHARDED_RESUMED_ELSEWHERE
    ]
    run_all(world, alone, together, resumed)
    six = runs.resumed("pretrain-of-six", "2-3", after="sharded-cut", **shards)
    ended = run_world(stage_program.main, 3, world, 3, [six])
    assert [one.code for one in ended] == [0] * 3, "\n".join(one.output for one in ended)
    return runs


def run_all(world, alone, together, resumed):
    """Run jobs with one process, then others with two, and what is resumed with one again."""
    for job in alone:
        stage_program.run_job(world, job)
    ended = run_world(stage_program.main, 2, world, 2, together)
    assert [one.code for one in ended] == [0, 0], "\n".join(one.output for one in ended)
    for job in resumed:
        stage_program.run_job(world, job)
