import pytest

from uae.store.embedded import EmbeddedStore


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One SeaweedFS server for every test of a file that does not stop it.

    No longer: tests of whole runs in this process end all of its child processes.
    """
    with EmbeddedStore(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def store(server):
    """An empty bucket."""
    opened = server.store()
    yield opened
    for key in opened.list(""):
        opened.delete(key)
