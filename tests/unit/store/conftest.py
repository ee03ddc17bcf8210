import pytest

from uae.store.embedded import EmbeddedStore


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """One SeaweedFS server for every test that does not stop it."""
    with EmbeddedStore(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def store(server):
    """An empty bucket."""
    opened = server.store()
    yield opened
    for key in opened.list(""):
        opened.delete(key)
