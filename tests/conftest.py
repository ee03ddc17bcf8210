"""What every test needs of the process that it runs in."""

import signal
from pathlib import Path

import pytest

# Files whose tests take minutes are begun first, so that no worker is left alone with them.
LONG = (
    "test_local_run",
    "test_photographs",
    "test_runs_in_a_bucket",
    "test_torchrun",
    "test_stages_in_two_processes",
    "test_killed_evaluation",
    "test_every_system",
)

# A shell that starts tests in the background ignores Ctrl-C for them, and every process that a test
# starts would inherit that; the tests of Ctrl-C need what a user's terminal gives.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long files; otherwise keep the order."""

    def rank(item: pytest.Item) -> int:
        stem = Path(item.path).stem
        return LONG.index(stem) if stem in LONG else len(LONG)

    items.sort(key=rank)
