import errno
import json
import shutil

import pytest
import torch

from uae.errors import TrainingError
from uae.store.embedded import EmbeddedStore
from uae.training import checkpoint
from uae.training.checkpoint import (
    LocalCheckpoints,
    Snapshot,
    StoreCheckpoints,
    load_snapshot,
    save_snapshot,
)


class FolderStore:
    """The part of `Store` that checkpoints use, on local folders."""

    def __init__(self, root):
        self.root = root

    def put_folder(self, folder, prefix):
        shutil.copytree(folder, self.root / prefix)
        (self.root / prefix / "MANIFEST.json").write_text("{}")

    def get_folder(self, prefix, folder):
        shutil.copytree(self.root / prefix, folder)

    def list(self, prefix):
        keys = [p.relative_to(self.root).as_posix() for p in self.root.rglob("*") if p.is_file()]
        return sorted(key for key in keys if key.startswith(prefix))

    def delete(self, prefix):
        shutil.rmtree(self.root / prefix)


def snapshot(value):
    tensors = {"parameters/w": torch.full((2,), value), "best/w": torch.zeros(2)}
    return Snapshot(tensors, {"format": 1, "next_step": int(value)})


@pytest.fixture(params=["local", "store"])
def checkpoints(request, tmp_path):
    if request.param == "local":
        return LocalCheckpoints(tmp_path / "local")
    return StoreCheckpoints(FolderStore(tmp_path / "bucket"), "runs/1/gfu", tmp_path / "scratch")


def test_latest_is_the_newest_commit_and_the_only_one_kept(checkpoints):
    assert checkpoints.latest() is None
    for step in (2, 10, 9):  # 10 after 2: numbers, not text, decide
        save_snapshot(snapshot(float(step)), checkpoints, step)
        loaded = load_snapshot(checkpoints.latest())
        assert loaded.values["next_step"] == step
        assert loaded.part("parameters")["w"].tolist() == [step, step]
        assert set(loaded.part("best")) == {"w"}


def test_store_ignores_a_checkpoint_without_its_manifest(tmp_path):
    store = FolderStore(tmp_path / "bucket")
    checkpoints = StoreCheckpoints(store, "gfu", tmp_path / "scratch")
    save_snapshot(snapshot(1.0), checkpoints, 1)
    half = tmp_path / "bucket/gfu/update-00000002"
    half.mkdir()
    (half / "state.json").write_text("{}")
    assert load_snapshot(checkpoints.latest()).values["next_step"] == 1


def test_full_disk_keeps_the_checkpoint_before(tmp_path, monkeypatch):
    checkpoints = LocalCheckpoints(tmp_path)
    save_snapshot(snapshot(1.0), checkpoints, 1)

    def no_space(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", no_space)
    with pytest.raises(TrainingError, match=r"No space left.*free some space and resume"):
        save_snapshot(snapshot(2.0), checkpoints, 2)
    assert [p.name for p in tmp_path.iterdir()] == ["update-00000001"]


def test_damaged_checkpoints_are_named(tmp_path):
    checkpoints = LocalCheckpoints(tmp_path)
    save_snapshot(snapshot(1.0), checkpoints, 1)
    folder = checkpoints.latest()
    (folder / "state.json").write_text(json.dumps({"format": 7}))
    with pytest.raises(TrainingError, match="format 7"):
        load_snapshot(folder)
    (folder / "state.safetensors").write_bytes(b"x")
    with pytest.raises(TrainingError, match="cannot read the checkpoint"):
        load_snapshot(folder)


def test_a_writer_that_died_leaves_nothing_behind(tmp_path):
    (tmp_path / ".writing-abc").mkdir()
    assert LocalCheckpoints(tmp_path).latest() is None
    assert list(tmp_path.iterdir()) == []


def test_checkpoints_survive_in_a_real_store(tmp_path):
    with EmbeddedStore(tmp_path / "server") as server:
        checkpoints = StoreCheckpoints(server.store(), "runs/1/gfu", tmp_path / "scratch")
        assert checkpoints.latest() is None
        for step in (1, 2):
            save_snapshot(snapshot(float(step)), checkpoints, step)
        elsewhere = StoreCheckpoints(server.store(), "runs/1/gfu", tmp_path / "another-machine")
        assert load_snapshot(elsewhere.latest()).values["next_step"] == 2
        kept = {key.split("/")[3] for key in server.store().list("runs/1/gfu")}
        assert kept == {"update-00000002"}
