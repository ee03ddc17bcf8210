"""Write the measured figures of the images into docs/performance.md, between two marks.

    .venv/bin/python -m uae_images.figures

`make test-images` leaves the measurements in images/build/figures.json and calls this.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

from uae.replacement import replaced_file
from uae_images.build import OUT
from uae_images.contents import ContentsError

MEASURED = OUT / "figures.json"
PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- images: written by uae_images.figures -->", "<!-- images: end -->"


# Until the first line is printed, until the step itself runs, until it has ended.
STEP_TIMES = ("first_line_seconds", "begin_seconds", "seconds")


class Figures(NamedTuple):
    """What a whole build and run measured."""

    machine: str
    images: dict[str, dict[str, float]]  # by image: bytes, compressed_bytes, build_seconds
    steps: dict[str, dict[str, float]]  # by step: the times in STEP_TIMES


def main() -> None:
    """Replace what stands between the marks."""
    write(PAGE, Figures(**json.loads(MEASURED.read_text(encoding="utf-8"))))
    print(PAGE)


def write(page: Path, figures: Figures) -> None:
    """Replace what stands between the marks of a page.

    Raises:
        ContentsError: If the page lacks a mark.
    """
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ContentsError(f"{page} has no lines {BEGIN!r} and {END!r}: put them where figures go")
    with replaced_file(page) as fresh:
        table = "\n".join([BEGIN, "", *_rows(figures), "", END])
        fresh.write_text(before + table + after, encoding="utf-8")


def _rows(figures: Figures) -> list[str]:
    rows = [
        f"Measured on {figures.machine}.",
        "",
        "| image | unpacked | to pull, compressed | to build |",
        "|---|---|---|---|",
    ]
    for name, values in figures.images.items():
        sizes = (_megabytes(values[key]) for key in ("bytes", "compressed_bytes"))
        rows.append(f"| `uae-{name}` | {' | '.join(sizes)} | {values['build_seconds']:.0f} s |")
    rows += ["", "| step | first line | step begins | step has ended |", "|---|---|---|---|"]
    for name, values in figures.steps.items():
        rows.append(f"| `{name}` | {' | '.join(f'{values[key]:.1f} s' for key in STEP_TIMES)} |")
    return rows


def _megabytes(value: Any) -> str:
    return f"{value / 1e6:,.0f} MB"


if __name__ == "__main__":
    main()
