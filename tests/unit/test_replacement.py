"""What is replaced is the old one or the new one, never half of either."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from uae.replacement import replaced_atomically, replaced_file


def test_a_failed_save_leaves_the_old_folder(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "old").write_text("old")

    def save():
        with replaced_atomically(folder) as partial:
            (partial / "new").write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="full"):
        save()
    assert [path.name for path in tmp_path.rglob("*")] == ["model", "old"]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")

    def write(text, *, fails):
        with replaced_file(path) as partial:
            partial.write_text(text)
            if fails:
                raise OSError("disk full")

    with pytest.raises(OSError, match="full"):
        write("half", fails=True)
    assert path.read_text() == "old"
    write("new", fails=False)
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture
def dead_pid():
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def replace(folder):
    with replaced_atomically(folder) as partial:
        (partial / "new").write_text("new")


def test_a_kill_before_the_new_folder_is_there_loses_nothing(tmp_path, monkeypatch, dead_pid):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "old").write_text("old")

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:  # as after a kill: nothing is tidied up
        patch.setattr(os, "getpid", lambda: dead_pid)
        rename = Path.rename
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        patch.setattr(
            Path,
            "rename",
            lambda self, to: killed() if to == folder else rename(self, to),
        )
        with pytest.raises(KeyboardInterrupt):
            replace(folder)
    assert not folder.exists()

    with pytest.raises(OSError, match="full"), replaced_atomically(folder):
        raise OSError("disk full")
    assert (folder / "old").read_text() == "old"
    assert list(tmp_path.iterdir()) == [folder]


def test_a_new_folder_that_cannot_take_its_place_leaves_the_old_one(tmp_path, monkeypatch):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "old").write_text("old")
    rename = Path.rename

    def fail(self, to):
        if self.suffix == ".partial":
            raise OSError("refused")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="refused"):
        replace(folder)
    assert [path.name for path in tmp_path.rglob("*")] == ["model", "old"]


def test_what_dead_writers_left_is_removed_and_what_living_ones_write_is_not(tmp_path, dead_pid):
    alive = os.getppid()
    for name in (f".model.{dead_pid}.old", f".model.{dead_pid}.partial", f".model.{alive}.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").write_text("half")
    (tmp_path / f".page.html.{dead_pid}.partial").write_text("half")
    (tmp_path / ".model.notes.partial").write_text("somebody's own")
    (tmp_path / "model").mkdir()
    replace(tmp_path / "model")
    with replaced_file(tmp_path / "page.html") as fresh:
        fresh.write_text("new")
    found = {path.name for path in tmp_path.iterdir()}
    assert found == {"model", "page.html", f".model.{alive}.partial", ".model.notes.partial"}
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["new"]
