import pytest

from uae.models.tiny import tiny_bundle, tiny_clip


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    tiny_clip(folder / "scorers" / "clip")
    return tiny_bundle(folder / "base")


@pytest.fixture(scope="session")
def base(bundle):
    return str(bundle)
