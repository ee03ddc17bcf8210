import json

import pytest

from uae.launch.task_places import LocalPlace


def test_a_note_is_never_half_written(tmp_path, monkeypatch):
    place = LocalPlace(tmp_path)
    place.write("failed-0.json", {"rank": 0})

    def cut_off(path, text, **_):
        with path.open("w") as file:
            file.write(text[: len(text) // 2])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.write_text", cut_off)
        with pytest.raises(KeyboardInterrupt):
            place.write("failed-0.json", {"rank": 0, "message": "another"})
    assert json.loads((tmp_path / "failed-0.json").read_text()) == {"rank": 0}
    assert place.read("failed-0.json") == {"rank": 0}
    place.write("failed-0.json", {"rank": 1})
    assert place.read("failed-0.json") == {"rank": 1}
    assert place.names() == ["failed-0.json"]
