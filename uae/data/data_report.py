"""The data report: one self-contained HTML page about a data set, readable on a phone."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import jinja2
import numpy as np

from uae.data.profile import SampleProfile
from uae.data.sample import Fault, Sample

TEMPLATE = Path(__file__).with_name("data_report.html.jinja")
NUM_BINS = 24
SHOWN_FAULTS = 200  # of a rule, in full; a browser must be able to show the page
NAMED_FAULTS = 5000  # of a rule, the others by name alone


@dataclass(frozen=True)
class Check:
    """One expectation's outcome."""

    rule: str
    column: str
    num_checked: int
    faults: tuple[Fault, ...]


@dataclass(frozen=True)
class DataReport:
    """Everything the page shows."""

    source: str
    profiles: Sequence[SampleProfile]
    reading_faults: Sequence[Fault]  # rows that could not be read at all
    checks: Sequence[Check]
    thumbnails: Sequence[tuple[Sample, str]]  # a sample and its picture as a data: URI

    @cached_property
    def all_faults(self) -> list[Fault]:
        """Every broken rule, rows that could not be read first."""
        return [*self.reading_faults, *(fault for check in self.checks for fault in check.faults)]

    @cached_property
    def near_duplicates(self) -> list[str]:
        """Ids of images whose perceptual hash stands more than once; reported, not refused."""
        counts = Counter(profile.perceptual_hash for profile in self.profiles)
        return [
            profile.image_id
            for profile in self.profiles
            if profile.perceptual_hash is not None and counts[profile.perceptual_hash] > 1
        ]

    @cached_property
    def shares(self) -> dict[str, list[tuple[str, int]]]:
        """Title -> value and count, most frequent first."""
        columns = ("split", "format", "mode", "licence", "source")
        return {
            column: Counter(
                str(getattr(profile, column) or "not named") for profile in self.profiles
            ).most_common(20)
            for column in columns
        }

    @cached_property
    def histograms(self) -> dict[str, str]:
        """Title -> inline SVG."""
        columns: dict[str, Sequence[float]] = {
            "Words in a caption": [profile.caption_words for profile in self.profiles],
            "Shorter side, pixels": [p.min_side for p in self.profiles if p.min_side is not None],
            "File size, KiB": [profile.file_bytes / 1024 for profile in self.profiles],
        }
        return {title: histogram_svg(values) for title, values in columns.items() if values}


def histogram_svg(values: Sequence[float]) -> str:
    """Draw a histogram with its range and highest bar in numbers.

    Args:
        values: At least one, finite.
    """
    low, high = min(values), max(values)
    counts, _ = np.histogram(values, bins=NUM_BINS, range=(low, high if high > low else low + 1))
    width, height, top = 320 / NUM_BINS, 100, max(int(counts.max()), 1)
    bars = "".join(
        f'<rect x="{index * width:.1f}" y="{12 + height * (1 - count / top):.1f}" '
        f'width="{width - 1:.1f}" height="{height * count / top:.1f}"/>'
        for index, count in enumerate(counts)
    )
    return (
        f'<svg viewBox="0 0 320 130" role="img"><g class="bars">{bars}</g>'
        f'<text x="0" y="126">{low:,.4g}</text><text x="320" y="126" text-anchor="end">'
        f'{high:,.4g}</text><text x="320" y="9" text-anchor="end">highest bar: {top:,}</text></svg>'
    )


def write_data_report(report: DataReport, path: Path) -> None:
    """Write the page; its folder is made where needed."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        template.render(report=report, shown_faults=SHOWN_FAULTS, named_faults=NAMED_FAULTS),
        encoding="utf-8",
        errors="backslashreplace",
    )
