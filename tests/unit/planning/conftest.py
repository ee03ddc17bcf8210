import pytest

from uae.models.tiny import tiny_bundle, tiny_clip


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    tiny_clip(folder / "scorers" / "clip")
    return str(tiny_bundle(folder / "base"))
