from importlib.metadata import version

import pytest

from uae_images.references import IMAGES_FILE, ImageReferenceError, ImageReferences

DIGEST = "sha256:" + "a1" * 32
TEXT = """\
# A comment.
bases:
  debian: {name: docker.io/library/debian, tag: bookworm-slim, digest: null}
images:
  control: {name: registry.example:5000/uae/uae-control, tag: 0.1.0, digest: null}
  trainer: {name: uae-trainer, tag: 0.1.0, digest: null}
  evaluator: {name: uae-evaluator, tag: 0.1.0, digest: null}
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "images.yaml"
    path.write_text(TEXT, encoding="utf-8")
    return path


def test_a_reference_is_its_tag_until_it_is_pinned(file):
    references = ImageReferences.read(file)
    assert references.image("control") == "registry.example:5000/uae/uae-control:0.1.0"
    assert references.base("debian") == "docker.io/library/debian:bookworm-slim"
    assert not references.pinned

    file.write_text(TEXT.replace("digest: null", f"digest: {DIGEST}"), encoding="utf-8")
    pinned = ImageReferences.read(file)
    assert pinned.image("control") == f"registry.example:5000/uae/uae-control@{DIGEST}"
    assert pinned.images.control.tagged == "registry.example:5000/uae/uae-control:0.1.0"
    assert pinned.pinned


def test_one_image_without_a_digest_is_not_pinned(file):
    file.write_text(TEXT.replace("digest: null", f"digest: {DIGEST}", 3), encoding="utf-8")
    assert not ImageReferences.read(file).pinned


def test_an_unpinned_base_leaves_our_images_pinned(file):
    head, ours = TEXT.split("images:")
    text = head + "images:" + ours.replace("digest: null", f"digest: {DIGEST}")
    file.write_text(text, encoding="utf-8")
    assert ImageReferences.read(file).pinned


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("name: uae-trainer", "name: UAE", "images.trainer.name: .*'UAE'"),
        ("name: uae-trainer", "name: uae-trainer@sha256", "images.trainer.name"),
        ("tag: bookworm-slim", "tag: -slim", "bases.debian.tag: .*'-slim'"),
        ("digest: null", "digest: sha256:12", "bases.debian.digest: .*'sha256:12'"),
        (", digest: null}\n  eval", "}\n  eval", "images.trainer.digest: missing"),
        ("  trainer:", "  trainers:", "images.trainers: unknown key"),
        ("  trainer:", "  control:", "keys stand twice"),
        ("tag: bookworm-slim", "tag: 12", "bases.debian.tag: .* got 12"),
    ],
)  # fmt: skip
def test_a_malformed_file_is_refused_with_key_and_value(file, before, after, told):
    assert before in TEXT
    file.write_text(TEXT.replace(before, after, 1), encoding="utf-8")
    with pytest.raises(ImageReferenceError, match=told):
        ImageReferences.read(file)


def test_a_missing_file_and_a_missing_image_are_named(file):
    with pytest.raises(ImageReferenceError, match=r"nowhere\.yaml"):
        ImageReferences.read(file.parent / "nowhere.yaml")
    with pytest.raises(ImageReferenceError, match=r"'judge'.*control, trainer, evaluator"):
        ImageReferences.read(file).image("judge")
    with pytest.raises(ImageReferenceError, match=r"'alpine'.*debian"):
        ImageReferences.read(file).base("alpine")


def test_writing_changes_nothing_but_what_changed(file):
    ImageReferences.read(file).write(file)
    assert file.read_text(encoding="utf-8") == TEXT


def test_the_shipped_file_is_written_as_it_would_be_and_has_this_version():
    references = ImageReferences.read()
    copy = IMAGES_FILE.read_text(encoding="utf-8")
    assert copy.splitlines()[-len(references._lines()) :] == references._lines()
    tags = {reference.tag for _, reference in references.images}
    assert tags == {version("uae")}
