"""What every test needs of the process that it runs in."""

import signal
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

# Files whose tests take minutes are begun first, so that no worker is left alone with them.
LONG = (
    "test_local_run",
    "test_photographs",
    "test_stages_in_two_processes",
    "test_every_system",
    "test_killed_evaluation",
    "test_torchrun",
    "test_pairwise_command",
    "test_effect_experiment",
    "test_gpu_benchmark",
)
# Folders whose files share long fixtures: one worker has them all.
TOGETHER = ("tests/distributed/",)

# A shell that starts tests in the background ignores Ctrl-C for them, and every process that a test
# starts would inherit that; the tests of Ctrl-C need what a user's terminal gives.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long files; otherwise keep the order."""

    def rank(item: pytest.Item) -> int:
        stem = Path(item.path).stem
        return LONG.index(stem) if stem in LONG else len(LONG)

    items.sort(key=rank)


class _Scheduling(LoadFileScheduling):
    def _split_scope(self, nodeid: str) -> str:
        folder = next((folder for folder in TOGETHER if nodeid.startswith(folder)), None)
        return folder or super()._split_scope(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    """Give a file, or a folder that is together, to one worker, as `--dist loadfile` does."""
    return _Scheduling(config, log) if config.getoption("dist") == "loadfile" else None
