"""Every command in README and docs is right, and run by a test or listed as one that cannot be."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from docs.documented import ROOT, Shown, commands

from uae.cli import _parser
from uae_images.references import ImageReferences
from uae_pipelines.cluster import RESOURCES_FOLDER
from uae_pipelines.schedule_file import ScheduleFile

KNOWN = yaml.safe_load(Path(__file__).with_name("commands.yaml").read_text(encoding="utf-8"))
SHOWN = commands()


def known(shown: Shown) -> list[str]:
    """Return the entries of commands.yaml that speak of a command."""
    text = str(shown)
    found = [p for p in KNOWN["run_by_tests"] if re.fullmatch(p, text)]
    return found + [
        p for part in KNOWN["not_run"] for p in part["commands"] if re.fullmatch(p, text)
    ]


def test_there_is_something_to_check():
    assert len(SHOWN) > 40


@pytest.mark.parametrize("page", sorted({shown.page for shown in SHOWN}))
def test_every_command_is_run_by_a_test_or_listed_with_the_reason(page):
    unknown = [str(shown) for shown in SHOWN if shown.page == page and not known(shown)]
    assert unknown == []


def test_no_entry_has_outlived_its_command():
    used = {pattern for shown in SHOWN for pattern in known(shown)}
    listed = {*KNOWN["run_by_tests"], *(p for part in KNOWN["not_run"] for p in part["commands"])}
    assert listed - used == set()


def test_tests_that_are_named_exist():
    missing = []
    for tests in KNOWN["run_by_tests"].values():
        for test in tests if isinstance(tests, list) else [tests]:
            file, _, name = test.partition("::")
            path = ROOT / file
            if not path.is_file() or (name and f"def {name}(" not in path.read_text("utf-8")):
                missing.append(test)
    assert missing == []


def test_targets_of_make_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    variables = set(re.findall(r"^([A-Z]+) *[?:]?=", (ROOT / "Makefile").read_text("utf-8"), re.M))
    for shown in SHOWN:
        if shown.words[0] == "make":
            named = [w for w in shown.words[1:] if "=" not in w]
            given = {w.partition("=")[0] for w in shown.words[1:] if "=" in w}
            assert set(named) <= targets, shown
            assert given <= variables, shown


def test_commands_of_uae_are_understood(monkeypatch, tmp_path):
    """The real parser reads them; files that the text has the reader make are put in place."""
    monkeypatch.chdir(tmp_path)
    for made in ("my-images.yaml", "my-pipeline.yaml", "my-nightly.yaml", "mine.yaml", "token"):
        (tmp_path / made).touch()
    for folder in ("pipelines", "images", "uae"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    assert RESOURCES_FOLDER.is_dir()
    lines = [shown for shown in SHOWN if shown.words[0] == ".venv/bin/uae"]
    assert len(lines) > 15
    assert [str(shown) for shown in lines if not is_understood(shown)] == []


def is_understood(shown: Shown) -> bool:
    try:
        _parser().parse_args(shown.words[1:])
    except SystemExit as end:
        return end.code == 0  # --help and --version
    return True


def test_overlays_that_are_applied_exist():
    for shown in SHOWN:
        if shown.words[0] == "kubectl" and "-k" in shown.words:
            folder = shown.words[shown.words.index("-k") + 1]
            assert (ROOT / folder / "kustomization.yaml").is_file() or "my-" in folder, shown


def test_registry_is_written_into_a_copy_of_the_references(tmp_path):
    references = ImageReferences.read(made_by_sed("my-images.yaml", tmp_path))
    assert references.image("control").startswith("registry.example/uae/uae-control:")
    assert references.base("debian") == ImageReferences.read().base("debian")


def test_images_are_written_into_a_copy_of_the_schedule(tmp_path):
    shipped = ScheduleFile.read(ROOT / "pipelines" / "schedules" / "nightly.yaml")
    mine = ScheduleFile.read(made_by_sed("my-nightly.yaml", tmp_path))
    assert (shipped.images, mine.images) == (None, "my-images.yaml")
    assert mine.model_copy(update={"images": None, "folder": shipped.folder}) == shipped
    assert mine.parameters["data"].startswith(f"s3://{mine.parameters['bucket']}/")


def made_by_sed(name: str, folder: Path) -> Path:
    """Run the command of the documentation that writes this file, and write it into the folder."""
    (words,) = [
        shown.words for shown in SHOWN if shown.words[0] == "sed" and shown.words[-1] == name
    ]
    program = words[: words.index(">")]
    made = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=True)
    (folder / name).write_text(made.stdout, encoding="utf-8")
    return folder / name
