import json
import threading
from contextlib import suppress

import pytest
from kept_checkpoints import file_of, folders, keeper_of, save, snapshot, whole

from uae.errors import TrainingError
from uae.store.embedded import EmbeddedStore
from uae.training import piece_files
from uae.training.areas import FolderArea, StoreArea
from uae.training.keeper import newest_checkpoint


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with EmbeddedStore(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(params=["folder", "bucket"])
def area(request, tmp_path):
    if request.param == "folder":
        return FolderArea(tmp_path / "kept")
    return StoreArea(request.getfixturevalue("server").store(), f"runs/{tmp_path.name}")


@pytest.fixture
def opened(area, tmp_path):
    found = []

    def again():
        found.append(keeper_of(area, tmp_path / "scratch"))
        return found[-1]

    yield again
    for one in found:
        one.close()


def test_the_newest_is_read_back_and_the_two_newest_are_kept(opened, area):
    assert opened().latest(whole) is None
    for step in (2, 10, 11):
        save(opened(), step)
    found = opened().latest(whole)
    assert found.values == {"next_step": 11, "rows": [{"step": 10}]}
    assert found.part("parameters")["w"].tolist() == [[11.0] * 3] * 2
    assert found.part("optimizer")["step/w"].item() == 7
    assert folders(area) == {"update-00000010", "update-00000011"}
    assert len([name for name in area.names() if name.startswith("opened/")]) == 1


def test_a_checkpoint_without_manifest_is_none_and_is_cleared_up(opened, area):
    save(opened(), 1)
    area.put_json("update-00000002/000001-01234567/receipt-00000.json", {})
    area.put_json("update-00000003/receipt-abc-00000.json", {})
    assert opened().latest(whole).values["next_step"] == 1
    assert folders(area) == {"update-00000001"}


def test_values_are_those_of_the_moment_of_saving(opened):
    checkpoints, taken = opened(), snapshot(1)
    checkpoints.save(taken, 1)
    taken.values["rows"].append({"step": 1})
    taken.tensors["parameters/w"] += 5
    checkpoints.settle()
    found = opened().latest(whole)
    assert found.values["rows"] == [{"step": 0}]
    assert found.part("parameters")["w"].unique().tolist() == [1.0]


class Refusing(FolderArea):
    """A full disk, once."""

    full = True

    def put_file(self, name, path):
        if self.full and name.endswith("safetensors"):
            self.full = False
            raise OSError(28, "No space left on device")
        super().put_file(name, path)


def test_what_fails_behind_the_training_is_raised_at_the_next_save(tmp_path):
    area = Refusing(tmp_path / "kept")
    checkpoints = keeper_of(area, tmp_path / "scratch")
    checkpoints.save(snapshot(1), 1)
    with pytest.raises(TrainingError, match=r"No space left.*free some space and resume"):
        checkpoints.save(snapshot(2), 2)
    checkpoints.close()
    again = keeper_of(area, tmp_path / "scratch")
    assert again.latest(whole) is None
    save(again, 3)
    assert again.latest(whole).values["next_step"] == 3
    again.close()


class Slow(FolderArea):
    """A store that answers when it is told to."""

    def __init__(self, folder):
        super().__init__(folder)
        self.go_on = threading.Event()

    def put_file(self, name, path):
        assert self.go_on.wait(30)
        super().put_file(name, path)


def test_training_does_not_wait_for_a_checkpoint_but_for_the_one_before(tmp_path):
    area = Slow(tmp_path / "kept")
    checkpoints = keeper_of(area, tmp_path / "scratch")
    checkpoints.save(snapshot(1), 1)  # returns although nothing can be written
    assert not any(name.endswith("safetensors") for name in area.names())
    area.go_on.set()
    checkpoints.save(snapshot(2), 2)
    assert file_of(area, "update-00000001/*/MANIFEST.json").exists()
    checkpoints.settle()
    assert checkpoints.latest(whole).values["next_step"] == 2
    checkpoints.close()


@pytest.mark.parametrize("file", ["state.safetensors", "MANIFEST.json"])
def test_checkpoints_of_another_version_are_refused(tmp_path, file):
    older = tmp_path / "older/update-00000001"
    older.mkdir(parents=True)
    (older / file).write_bytes(b"")
    (older / "state.json").write_text('{"format": 1}')
    checkpoints = keeper_of(FolderArea(tmp_path / "older"), tmp_path / "scratch")
    with pytest.raises(TrainingError, match="update-00000001 was written by another version"):
        checkpoints.latest(whole)
    assert (older / "state.json").exists()
    checkpoints.close()


class Crash(BaseException):
    """The end of a process."""


class Mortal(FolderArea):
    """Nothing reaches it after so many changes, as when its process is killed."""

    def __init__(self, folder, changes_left):
        super().__init__(folder)
        self.left = changes_left

    def _one_less(self):
        self.left -= 1
        if self.left < 0:
            raise Crash

    def put_file(self, name, path):
        self._one_less()
        super().put_file(name, path)

    def put_json(self, name, value):
        self._one_less()
        super().put_json(name, value)

    def delete(self, name):
        self._one_less()
        if self.left == 0 and name.startswith("update-"):  # in the middle: its manifest is gone
            (self._folder / name / "MANIFEST.json").unlink()
            raise Crash
        super().delete(name)


def test_a_process_that_dies_at_any_point_leaves_a_whole_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(piece_files, "FILE_BYTES", 8)  # a file for each tensor
    found = []
    for changes in range(10):
        folder = tmp_path / str(changes)
        first = keeper_of(FolderArea(folder), tmp_path / "scratch")
        for step in (1, 2):
            save(first, step)
        with suppress(Crash):
            save(keeper_of(Mortal(folder, changes), tmp_path / "scratch"), 3)
        again = keeper_of(FolderArea(folder), tmp_path / "scratch")
        taken = again.latest(whole)
        step = taken.values["next_step"]
        assert taken.part("parameters")["w"].unique().tolist() == [step]
        assert newest_checkpoint(FolderArea(folder)) == f"update-{step:08d}"
        save(again, 4)
        assert folders(again._area) == {f"update-{step:08d}", "update-00000004"}
        found.append(step)
    # opened, the one before it closed, two files, receipt, state, manifest; the eighth deletes
    assert found == [2] * 7 + [3] * 3


def test_no_part_of_a_checkpoint_is_pickled(tmp_path):
    area = FolderArea(tmp_path / "kept")
    checkpoints = keeper_of(area, tmp_path / "scratch")
    save(checkpoints, 1)
    checkpoints.close()
    kinds = {name.rpartition(".")[2] for name in area.names()}
    assert kinds == {"json", "safetensors"}
    state = json.loads(file_of(area, "update-00000001/*/state.json").read_text())
    assert state["files"]["whole-00000-000.safetensors"]["parameters/w"]["shape"] == [2, 3]
