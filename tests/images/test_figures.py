import pytest

from uae_images.contents import ContentsError
from uae_images.figures import BEGIN, END, PAGE, Figures, write

FIGURES = Figures(
    machine="2 CPUs",
    images={"control": {"bytes": 7.4e8, "compressed_bytes": 2.2e8, "build_seconds": 61.4}},
    steps={"gate": {"first_line_seconds": 1.24, "begin_seconds": 1.7, "seconds": 3.96}},
)


def test_figures_stand_between_the_marks_and_nothing_else_changes(tmp_path):
    page = tmp_path / "performance.md"
    page.write_text(f"# Speed\n\n{BEGIN}\nold\n{END}\n\nAfter.\n", encoding="utf-8")
    write(page, FIGURES)
    text = page.read_text(encoding="utf-8")
    assert "| `uae-control` | 740 MB | 220 MB | 61 s |" in text
    assert "| `gate` | 1.2 s | 1.7 s | 4.0 s |" in text
    assert "old" not in text
    assert text.startswith("# Speed\n\n")
    assert text.endswith("\n\nAfter.\n")
    write(page, FIGURES)
    assert page.read_text(encoding="utf-8") == text


def test_a_page_without_marks_is_refused(tmp_path):
    page = tmp_path / "performance.md"
    page.write_text(f"{BEGIN}\n", encoding="utf-8")
    with pytest.raises(ContentsError, match="has no lines"):
        write(page, FIGURES)


def test_the_shipped_page_has_the_marks():
    text = PAGE.read_text(encoding="utf-8")
    assert text.index(BEGIN) < text.index(END)
