import sys

import pytest

from uae_images import check
from uae_images.check import expand, requirement_faults
from uae_images.contents import Contents, ContentsError

WHOLE = {
    "a": ("1.0", ["B_b>=2", "c; extra == 'more'", "d>=1"]),
    "b-b": ("2.1", []),
    "kfp": ("2.17.0", ["requests==2.33.0", "protobuf<7"]),
    "requests": ("2.99", []),
    "protobuf": ("6.33", []),
}


def faults(packages, left_out=frozenset({"d"})):
    return list(requirement_faults(packages, set(left_out)))


def test_an_environment_that_has_what_it_asks_for_is_whole():
    # c belongs to an extra, d is left out on purpose, kfp pins requests more narrowly than it must
    assert faults(WHOLE) == []


def test_what_is_missing_too_old_or_not_left_out_is_told():
    assert faults(WHOLE, left_out=()) == ["a needs d>=1, which is missing"]
    assert faults(WHOLE | {"b-b": ("1.9", [])}) == ["a needs B_b>=2, 1.9 is here"]
    assert faults(WHOLE | {"d": ("1", [])}) == ["d is here, and contents.yaml leaves it out"]
    assert faults(WHOLE | {"protobuf": ("7.0", [])}) == ["kfp needs protobuf<7, 7.0 is here"]


def test_a_package_with_a_star_stands_for_everything_in_it():
    assert list(expand("uae_images.references")) == ["uae_images.references"]
    everything = list(expand("uae.store.*"))
    assert everything[0] == "uae.store"
    assert "uae.store.s3" in everything


def test_modules_that_cannot_be_imported_are_all_told(tmp_path, monkeypatch):
    (tmp_path / "broken_one.py").write_text("import no_such_thing\n")
    (tmp_path / "broken_two.py").write_text("raise RuntimeError('no driver')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(check, "installed", dict)

    asked = {"control": ["json", "broken_one", "broken_two"]}
    contents = Contents.model_validate({"left_out": [], "imports": asked})
    monkeypatch.setattr(Contents, "read", lambda: contents)
    with pytest.raises(ContentsError) as caught:
        check.check("control")
    assert "broken_one cannot be imported: ModuleNotFoundError" in str(caught.value)
    assert "broken_two cannot be imported: RuntimeError: no driver" in str(caught.value)
    assert "json cannot" not in str(caught.value)


def test_the_command_names_the_images(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["check", "all"])
    with pytest.raises(SystemExit, match=r"control\|trainer\|evaluator"):
        check.main()
