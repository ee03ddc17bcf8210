"""What the run learnt from: the part of the data report that belongs into the run's report."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from markupsafe import Markup

from uae.export.run_folder import RunFolder
from uae.report.charts import histogram
from uae.report.page import number

MAX_BINS = 24


class DataProfile(NamedTuple):
    """Counts and origin of the validated data set."""

    source: str
    revision: str
    counts: dict[str, int]  # split -> pictures
    has_facts: bool
    licences: dict[str, int]  # licence -> pictures
    caption_words: Markup  # histogram


def read_data_profile(run: RunFolder) -> DataProfile | None:
    """Read `data.json`; None if validation did not end."""
    path = run.file("validate_data", "data.json")
    if path is None:
        return None
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    words = {int(words): count for words, count in values["caption_words"].items()}
    return DataProfile(
        source=values["source"],
        revision=values["revision"],
        counts=values["counts"],
        has_facts=values["has_facts"],
        licences=values["licences"],
        caption_words=words_histogram(words),
    )


def words_histogram(words: Mapping[int, int]) -> Markup:
    """Draw how many captions have how many words: number of words -> captions."""
    low, high = min(words), max(words) + 1
    width = -(-(high - low) // MAX_BINS)
    edges = list(range(low, high + width, width))
    counts = [
        sum(count for length, count in words.items() if start <= length < end)
        for start, end in itertools.pairwise(edges)
    ]
    mean = sum(length * count for length, count in words.items()) / sum(words.values())
    label = f"Words in a caption: {low} to {high - 1}, {number(mean)} on average"
    return histogram([float(edge) for edge in edges], counts, label=label)
