import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for linear_run


@pytest.fixture
def recipe():
    from linear_run import make_recipe

    return make_recipe()
