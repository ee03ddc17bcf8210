import tomllib
from importlib.metadata import version

import pytest
from packaging.requirements import Requirement

from uae_images import lists
from uae_images.contents import IMAGE_NAMES, Contents, ContentsError, normal, requirements_file
from uae_images.lists import PYPROJECT, closure, read_list, texts
from uae_images.materials import FOLDER, listed_packages, write_materials

on_the_platform = pytest.mark.skipif(
    lists.this_platform() != lists.PLATFORM, reason=f"the lists are for {lists.PLATFORM}"
)
TENSORS = {"torch", "torchvision", "transformers", "diffusers", "triton", "nvidia-cublas"}


@on_the_platform
@pytest.mark.parametrize("name", [*IMAGE_NAMES, "build"])
def test_lists_are_what_the_project_asks_for(name):
    again = "run .venv/bin/python -m uae_images.lists and .venv/bin/python -m uae_images.materials"
    assert requirements_file(name).read_text(encoding="utf-8") == texts()[name], again


@on_the_platform
@pytest.mark.parametrize("image", IMAGE_NAMES)
def test_bills_and_licences_are_of_the_lists(image, tmp_path):
    write_materials(tmp_path, image, f"uae-{image}", listed_packages(image))
    for path in tmp_path.iterdir():
        again = f"{path.name}: run .venv/bin/python -m uae_images.materials"
        assert (FOLDER / path.name).read_text("utf-8") == path.read_text("utf-8"), again


def test_control_has_no_tensor_library_and_the_others_have():
    assert not TENSORS & read_list("control").keys()
    assert read_list("trainer").keys() >= TENSORS


def test_evaluator_holds_the_trainer_s_list_unchanged():
    trainer, evaluator = read_list("trainer"), read_list("evaluator")
    assert trainer.items() < evaluator.items()
    assert "resvg-py" in evaluator.keys() - trainer.keys()


def test_trainer_reads_texts_in_pictures_as_gfu_s_guard_may_ask():
    assert {"rapidocr", "onnxruntime"} <= read_list("trainer").keys()


def test_every_version_is_that_of_the_constraints():
    lines = (PYPROJECT.parent / "constraints.txt").read_text(encoding="utf-8").splitlines()
    tested = dict(line.split("==") for line in lines if "==" in line)
    tested = {normal(name): number for name, number in tested.items()}
    for image in IMAGE_NAMES:
        listed = read_list(image)
        assert listed.items() <= tested.items(), listed.items() - tested.items()


@on_the_platform
def test_what_is_left_out_would_be_in_otherwise():
    contents = Contents.read()
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["ocr"]]
    everything = closure(lines, set())
    for image in IMAGE_NAMES:
        out = contents.left_out_of(image)
        assert out <= everything.keys()
        assert not out & read_list(image).keys()


def test_a_closure_follows_dependencies_and_extras_and_stops_where_told():
    assert closure(["jinja2"], set()) == {
        "jinja2": version("jinja2"),
        "markupsafe": version("markupsafe"),
    }
    assert closure(["jinja2"], {"markupsafe"}) == {"jinja2": version("jinja2")}
    plain, extra = closure(["jsonschema"], set()), closure(["jsonschema[format-nongpl]"], set())
    assert "fqdn" not in plain
    assert plain.keys() | {"fqdn"} <= extra.keys()


def test_a_package_that_is_not_installed_is_named():
    with pytest.raises(ContentsError, match="no-such-package is not installed"):
        closure(["no_such_package"], set())


def test_lists_are_not_written_on_another_platform(monkeypatch):
    monkeypatch.setattr(lists.platform, "machine", lambda: "arm64")
    with pytest.raises(ContentsError, match="arm64"):
        lists.check_platform()


def test_contents_are_read_strictly(tmp_path):
    path = tmp_path / "contents.yaml"
    path.write_text("left_out: []\nimports: {worker: [uae]}\n", encoding="utf-8")
    with pytest.raises(ContentsError, match=r"worker"):
        Contents.read(path)


def test_requirements_are_pinned_to_one_version():
    for image in IMAGE_NAMES:
        lines = requirements_file(image).read_text(encoding="utf-8").splitlines()[1:]
        assert all([s.operator for s in Requirement(line).specifier] == ["=="] for line in lines)
