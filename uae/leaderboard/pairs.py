"""Paired differences of every two systems of a table, computed when the page is made."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

from uae.errors import EvaluationError
from uae.evaluation.comparison import Comparison, compare
from uae.evaluation.results import Sample
from uae.leaderboard.tables import Row

MAX_SYSTEMS = 12  # 66 pairs; each takes a tenth of a second
RESAMPLES = 2000
SEED = 0


def compare_all(
    rows: Sequence[Row], samples: Sequence[Sequence[Sample]]
) -> tuple[dict[str, dict[str, Any]], str]:
    """Compare every two measured rows.

    Args:
        rows: Of one table, best first.
        samples: Of each row; none where it was not measured.

    Returns:
        By "a,b", places in `rows` with a before b: how much a is above b, or, where that cannot
        be said, a note why. And what the page says about pairs that were left out.
    """
    measured = [place for place, row in enumerate(rows) if row.entry]
    pairs = {
        f"{a},{b}": _pair(rows[a], rows[b], samples[a], samples[b])
        for a, b in combinations(measured[:MAX_SYSTEMS], 2)
    }
    if len(measured) <= MAX_SYSTEMS:
        return pairs, ""
    return pairs, f"Differences were computed between the {MAX_SYSTEMS} systems that score highest."


def _pair(
    a: Row, b: Row, samples_a: Sequence[Sample], samples_b: Sequence[Sample]
) -> dict[str, Any]:
    assert a.entry is not None
    assert b.entry is not None
    try:
        found = compare(  # its difference is that of the second from the first
            b.entry.result,
            a.entry.result,
            samples_b,
            samples_a,
            resamples=RESAMPLES,
            seed=SEED,
        )
    except EvaluationError as error:
        return {"difference": None, "note": f"No difference: {error}"}
    return _shown(found)


def _shown(found: Comparison) -> dict[str, Any]:
    return {
        "difference": found.difference,
        "interval": found.interval,
        "p_value": found.p_value,
        "test": found.test,
        "num_pairs": found.num_pairs,
        "better": found.better,
        "worse": found.worse,
        "equal": found.equal,
    }
