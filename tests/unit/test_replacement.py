"""What is replaced is the old one or the new one, never half of either."""

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
