"""Damaged checkpoints, and worlds that write although they were given up."""

import json
import re
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from kept_checkpoints import file_of, folders, keeper_of, save, snapshot, whole

from uae.errors import TrainingError
from uae.training.areas import FolderArea
from uae.training.distribution import World
from uae.training.messages import OtherProcessFailed


def spoil(path):
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def remove(path):
    path.unlink()


def cut_short(path):
    path.write_text('{"files": {"state')


@pytest.mark.parametrize(
    ("file", "harm", "said"),
    [
        ("whole-00000-000.safetensors", spoil, r"whole-00000-000\.safetensors has sha256 \w+, \w+"),
        ("whole-00000-000.safetensors", remove, r"missing: update-00000005/.*/whole-00000-000"),
        ("state.json", spoil, r"state\.json has sha256 "),
        ("MANIFEST.json", cut_short, r"MANIFEST\.json cannot be read"),
    ],
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_taken(
    tmp_path, capsys, file, harm, said
):
    area = FolderArea(tmp_path / "kept")
    first = keeper_of(area, tmp_path / "scratch")
    for step in (1, 3, 5):
        save(first, step)
    harm(file_of(area, f"update-00000005/*/{file}"))
    again = keeper_of(area, tmp_path / "scratch")
    taken = again.latest(whole)
    assert taken.values["next_step"] == 3
    assert taken.part("parameters")["w"].unique().tolist() == [3.0]
    log = capsys.readouterr().err
    assert re.search(
        rf"WARNING: checkpoint update-00000005/\S+ is damaged \(process 0: {said}", log
    )
    assert re.search(
        r"goes on from update-00000003/\S+: what 2 later updates had done is lost", log
    )
    assert folders(area) == {"update-00000003", "update-00000005"}  # nothing is deleted yet
    save(again, 4)
    assert folders(area) == {"update-00000003", "update-00000004"}
    again.close()


def test_where_all_are_damaged_nothing_is_begun_anew(tmp_path):
    area = FolderArea(tmp_path / "kept")
    checkpoints = keeper_of(area, tmp_path / "scratch")
    for step in (1, 2):
        save(checkpoints, step)
    for path in area._folder.glob("update-*/*/state.json"):
        spoil(path)
    expected = r"00000002/\S+ is damaged .*00000001/\S+ is damaged .*there is no other one"
    with pytest.raises(TrainingError, match=expected):
        checkpoints.latest(whole)
    assert folders(area) == {"update-00000001", "update-00000002"}
    checkpoints.close()


class OneOfTwo(World):
    """One of two processes that are threads."""

    def among(self, barrier, messages):
        object.__setattr__(self, "_barrier", barrier)
        object.__setattr__(self, "_messages", messages)
        return self

    def exchange(self, message):
        self._messages[self.rank] = json.loads(json.dumps(message))
        self._barrier.wait(30)
        found = list(self._messages)
        self._barrier.wait(30)
        return found


class BadDisk(FolderArea):
    """One process reads other bytes of the newest checkpoint than were written."""

    def fetch(self, name, folder):
        path = super().fetch(name, folder)
        if not name.startswith("update-00000003") or not name.endswith("000.safetensors"):
            return path
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / "read")
        spoil(folder / "read")
        return folder / "read"


def test_what_one_process_finds_damaged_no_process_takes(tmp_path, capsys):
    kept, barrier, messages = tmp_path / "kept", threading.Barrier(2), [None, None]

    def be(rank):
        world = OneOfTwo(rank, 2).among(barrier, messages)
        first = keeper_of(FolderArea(kept), tmp_path / "scratch", world)
        for step in (2, 3):
            save(first, step)
        area = (BadDisk if rank == 1 else FolderArea)(kept)
        return keeper_of(area, tmp_path / "scratch", world).latest(whole).values["next_step"]

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(be, range(2))) == [2, 2]
    log = capsys.readouterr().err
    assert re.search(r"update-00000003/\S+ is damaged \(process 1: whole-0000\d-000", log)
    assert log.count("WARNING") == 1


class Held(FolderArea):
    """Waits before a file whose name ends so, as a process that is cut off or slow."""

    def __init__(self, folder, ending):
        super().__init__(folder)
        self.ending, self.reached, self.go_on = ending, threading.Event(), threading.Event()

    def _hold(self, name):
        if name.endswith(self.ending):
            self.reached.set()
            assert self.go_on.wait(30)

    def put_file(self, name, path):
        self._hold(name)
        super().put_file(name, path)

    def put_json(self, name, value):
        self._hold(name)
        super().put_json(name, value)


LOST = r"opened by these processes as 000001-\w+, was opened again since, as 000002-\w+"


@pytest.mark.parametrize("held", ["000.safetensors", "receipt-00000.json", "state.json"])
def test_a_world_that_was_given_up_neither_commits_nor_deletes(tmp_path, held):
    area, slow = FolderArea(tmp_path / "kept"), Held(tmp_path / "kept", held)
    old = keeper_of(slow, tmp_path / "old")
    slow.go_on.set()
    save(old, 2)
    slow.go_on.clear()
    slow.reached.clear()
    old.save(snapshot(4), 4)
    assert slow.reached.wait(30)
    new = keeper_of(area, tmp_path / "new")
    assert new.latest(whole).values["next_step"] == 2
    for step in (3, 4):
        save(new, step)
    before = {path: path.read_bytes() for path in area._folder.rglob("*") if path.is_file()}
    slow.go_on.set()
    with pytest.raises(OtherProcessFailed, match=LOST):
        old.settle()
    old.close()
    after = {path: path.read_bytes() for path in area._folder.rglob("*") if path.is_file()}
    assert before.items() <= after.items()
    assert not any(path.name == "MANIFEST.json" for path in after.keys() - before.keys())
    again = keeper_of(area, tmp_path / "new")
    assert again.latest(whole).part("parameters")["w"].unique().tolist() == [4.0]
    left = {path.parent for path in before} - {area._folder / "opened"}
    assert set(area._folder.glob("update-*/*")) == left  # what the old one wrote late is gone


def test_a_commit_at_the_last_moment_spoils_and_deletes_nothing(tmp_path):
    area, slow = FolderArea(tmp_path / "kept"), Held(tmp_path / "kept", "MANIFEST.json")
    old = keeper_of(slow, tmp_path / "old")
    slow.go_on.set()
    for step in (1, 2):
        save(old, step)
    slow.go_on.clear()
    slow.reached.clear()
    old.save(snapshot(4), 4)
    assert slow.reached.wait(30)  # it has looked who has the place
    new = keeper_of(area, tmp_path / "new")
    new.latest(whole)
    save(new, 3)
    slow.go_on.set()
    with pytest.raises(OtherProcessFailed, match=LOST):
        old.settle()
    with pytest.raises(OtherProcessFailed, match=LOST):
        old.note("skipped.json", [])
    assert new.latest(whole).values["next_step"] == 3  # not the older world's fourth
    new.close()
    old.close()
