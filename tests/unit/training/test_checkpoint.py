from uae.store.embedded import EmbeddedStore
from uae.training.checkpoint import LocalCheckpoints, StoreCheckpoints


def test_opening_a_place_leaves_what_others_are_writing(tmp_path):
    writing = tmp_path / ".writing-process-1"
    writing.mkdir()
    (writing / "rows.safetensors").write_bytes(b"half")
    checkpoints = LocalCheckpoints(tmp_path)
    assert (writing / "rows.safetensors").read_bytes() == b"half"
    assert checkpoints.scratch == tmp_path
    assert checkpoints.area.names() == []


def test_a_place_in_a_store_is_below_its_prefix(tmp_path):
    with EmbeddedStore(tmp_path / "server") as server:
        checkpoints = StoreCheckpoints(server.store(), "/runs/1/gfu/", tmp_path / "scratch")
        assert checkpoints.scratch.is_dir()
        checkpoints.area.put_json("a/b.json", [1])
        assert server.store().get_json("runs/1/gfu/a/b.json") == [1]
        assert checkpoints.area.names() == ["a/b.json"]
