"""What pages point at is there: linked files, sections, and files that are named in the text."""

import re
from pathlib import Path

import pytest
from docs.documented import FENCE, ROOT

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "manifests" / "README.md",
]
LINK = re.compile(r"\]\(([^)\s]+)\)")
# Of a folder of the repository, without placeholders. Not after a dot or slash, as in
# the addresses of other projects' files.
NAMED = re.compile(
    r"(?<![\w./-])(?:docs|manifests|pipelines|images|benchmarks|tests|uae)/[\w./-]*\.(?:md|py|yaml)\b"
)
ELSEWHERE = re.compile(
    r"(?:argoproj|kubeflow)/[\w-]+,[^;)]*"
)  # "kubeflow/pipelines, manifests/..."
YOURS = {"manifests/overlays/my-cluster/kustomization.yaml"}  # that the reader is to write


def anchors(page: Path) -> set[str]:
    """Return the sections of a page, as GitHub names them."""
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken_links(page: Path, text: str) -> list[str]:
    """Return every relative link whose file or section is not there."""
    found = []
    for link in LINK.findall(text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, section = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (section and section not in anchors(target)):
            found.append(link)
    return found


def missing_files(text: str) -> list[str]:
    """Return every file of the repository that the text names and that is not there."""
    named = set(NAMED.findall(ELSEWHERE.sub("", text))) - YOURS
    return sorted(name for name in named if not (ROOT / name).is_file())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    assert broken_links(page, page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_are_named_are_there(page):
    assert missing_files(page.read_text(encoding="utf-8")) == []


def test_a_broken_link_is_found():
    page = ROOT / "docs" / "cluster.md"
    text = (
        "[a](data.md) [b](date.md) [c](../README.md#the-code) [d](#nowhere) [e](https://a.b/c.md)"
    )
    assert broken_links(page, text) == ["date.md", "#nowhere"]


def test_a_missing_file_is_found():
    assert missing_files('`docs/data.md`, (docs/date.md, "x"), `uae/none.py`.') == [
        "docs/date.md",
        "uae/none.py",
    ]
    assert len(NAMED.findall((ROOT / "README.md").read_text(encoding="utf-8"))) > 10
