import pytest
from linear_run import make_recipe


@pytest.fixture
def recipe():
    return make_recipe()
