import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for stage_world


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    from stage_world import make_world

    return make_world(tmp_path_factory.mktemp("world"))
