from pathlib import Path

import pytest
from distributed import stage_program
from distributed.cases import CASES, CUT, RESUMED, RESUMED_ELSEWHERE
from distributed.processes import run_world
from stage_world import make_world


class Runs:
    """Folders of trained models: `<case>/<how>`, with their logs beside them in `<how>-log`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def of(self, case: str, how: str) -> Path:
        return self.folder / case / how

    def job(self, case: str, how: str, *, resumed: str | None = None, cut: int | None = None):
        checkpoints = str(self.of(case, f"{resumed}-checkpoints")) if resumed else None
        return {
            "case": case,
            "out": str(self.of(case, how)),
            "checkpoints": checkpoints,
            "cut": cut,
        }


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
    return runs
