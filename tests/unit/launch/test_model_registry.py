"""The champion in a Kubeflow Model Registry, here a stand-in."""

import pytest
from dict_store import DictStore
from example_run import write_bench
from model_registry_server import running_registry

from uae.errors import ClusterError, StoreError
from uae.export.registry import Champion, promote
from uae.export.scores import read_unified_bench
from uae.launch.model_registry import API, ModelRegistry, register_champion


@pytest.fixture
def server():
    with running_registry() as running:
        yield running


class Bucket(DictStore):
    bucket, endpoint = "uae", "http://store:8333"


@pytest.fixture
def champion(tmp_path):
    bench = read_unified_bench(write_bench(tmp_path, stage=3, num_samples=2))
    return Champion(
        run_id="run-1", model_prefix="models/run-1", promoted_at="2026-03-04T05:06:07+00:00",
        recipe_name="starter", recipe_sha256="0", data_revision="r", code_version="0.1.0",
        parent=None, unified_bench=bench,
    )  # fmt: skip


@pytest.fixture
def store(champion):
    bucket = Bucket()
    promote(bucket, champion)
    return bucket


def test_champion_is_model_version_and_artifact(server, store, champion):
    address = ModelRegistry(server.url + "/").register(champion, store)
    assert address == f"{server.url}{API}/model_versions/1"
    (model,) = server.entities["registered_models"].values()
    assert model["name"] == "uae"
    assert model["customProperties"] == {
        "champion": {"metadataType": "MetadataStringValue", "string_value": "run-1"}
    }
    (version,) = server.entities["model_versions"].values()
    assert (version["name"], version["registeredModelId"]) == ("run-1", "1")
    assert version["customProperties"]["data_revision"]["string_value"] == "r"
    assert version["customProperties"]["unified_bench"] == {
        "metadataType": "MetadataDoubleValue", "double_value": champion.unified_bench.overall,
    }  # fmt: skip
    (artifact,) = server.entities["artifacts"].values()
    assert artifact["artifactType"] == "model-artifact"
    assert artifact["uri"] == "s3://uae/models/run-1"


def test_registering_again_adds_nothing_and_a_rollback_moves_the_mark(server, store, champion):
    registry = ModelRegistry(server.url)
    registry.register(champion, store)
    other = champion.model_copy(update={"run_id": "run-2", "model_prefix": "models/run-2"})
    registry.register(other, store)
    back = champion.model_copy(update={"action": "rollback", "reason": "run-2 draws no cats"})
    registry.register(back, store)
    registry.register(back, store)
    counts = {kind: len(found) for kind, found in server.entities.items()}
    assert counts == {"registered_models": 1, "model_versions": 2, "artifacts": 2}
    marked = server.entities["registered_models"]["1"]["customProperties"]["champion"]
    assert marked["string_value"] == "run-1"
    known = server.entities["model_versions"]["1"]["customProperties"]
    assert known["promoted_by"]["string_value"] == "rollback"
    assert known["reason"]["string_value"] == "run-2 draws no cats"


def test_entity_that_somebody_else_creates_meanwhile_is_taken(server, store, champion):
    server.overtake = True
    ModelRegistry(server.url).register(champion, store)
    assert len(server.entities["registered_models"]) == 1


def test_lost_connections_are_tried_again(server, store, champion):
    server.answers = [(0, ""), (0, "")]
    ModelRegistry(server.url).register(champion, store)
    assert server.calls[:3] == [("GET", "registered_model")] * 3


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([(0, "")] * 3, "no connection to http"),
        ([(500, "boom")], "answered 500: boom"),
        ([(401, "who are you")], "answered 401"),
        ([(200, "<html>log in</html>")], "is no model registry, it answers: <html>"),
        ([(200, "[]")], "is no model registry"),
        ([(404, ""), (409, ""), (404, "")], "registered_model uae is there and cannot be found"),
    ],
)
def test_failing_registry_is_reported_and_undoes_nothing(server, store, champion, answers, words):
    server.answers = list(answers)
    fault = register_champion(server.url, store)
    assert words in fault
    assert fault.startswith("run-1 is champion, but not registered: ")
    places = f"--endpoint http://store:8333 --bucket uae --model-registry {server.url}"
    assert f"`uae promote run-1 {places}` registers it (with the addresses of" in fault
    assert register_champion(server.url, store) is None
    assert len(server.entities["artifacts"]) == 1


def test_bad_addresses(store):
    assert "bad store endpoint" in register_champion("registry:8080", store)
    with pytest.raises(StoreError) as caught:
        ModelRegistry("http://me:s3cret@registry")
    assert "s3cret" not in str(caught.value)


def test_token_is_sent_and_never_shown(server, store, champion, tmp_path):
    server.token = "s3cret"
    (tmp_path / "token").write_text("s3cret\n")
    ModelRegistry(server.url, token_file=tmp_path / "token").register(champion, store)
    (tmp_path / "token").write_text("0ther\n")
    with pytest.raises(ClusterError) as caught:
        ModelRegistry(server.url, token_file=tmp_path / "token").register(champion, store)
    assert "0ther" not in str(caught.value)
    with pytest.raises(ClusterError, match="cannot read the token"):
        ModelRegistry(server.url, token_file=tmp_path / "none")
