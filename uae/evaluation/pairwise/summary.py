"""From verdicts to samples, and from samples to scores."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from uae.evaluation.bootstrap import bootstrap_interval
from uae.evaluation.pairwise.captions import Pair
from uae.evaluation.pairwise.verdicts import (
    ORDERS,
    Verdict,
    agreement,
    first_chosen,
    outcome,
)
from uae.evaluation.results import Part, Sample, State, count_states
from uae.evaluation.scoring import mean_part, score_or_bounds

Both = tuple[Verdict, Verdict]  # of one judge about one picture, in both orders


def pair_sample(pair: Pair, verdicts: Sequence[Verdict], seed: int) -> Sample:
    """Return a picture's sample: its score is the mean of the judges' outcomes, for A."""
    outcomes = [outcome(both) for both in _by_judge(verdicts).values()]
    known = [value for value in outcomes if value is not None]
    failures = [
        f"{verdict.judge}, order {verdict.order}: {verdict.failure}"
        for verdict in verdicts
        if verdict.choice is None
    ]
    state: State = "missing" if pair.missing else "judge_error" if failures else "scored"
    return Sample(
        sample_id=pair.sample_id,
        part="",
        state=state,
        score=float(np.mean(known)) if state == "scored" else None,
        reason=pair.missing or "; ".join(failures[:1]),
        prompt="",
        caption="",
        seed=seed,
        images={"original": pair.place},
        evidence={
            "verdicts": [verdict._asdict() for verdict in verdicts],
            "facts": {"captions": {"a": pair.captions[0], "b": pair.captions[1]}},
        },
    )


def summarise(
    samples: Sequence[Sample], judges: Sequence[str], *, resamples: int, seed: int
) -> dict[str, Any]:
    """Return the scores, as `Result` has them; pictures are what is drawn again for intervals."""
    table = [_by_judge([Verdict(**row) for row in s.evidence["verdicts"]]) for s in samples]

    def column(judge: str, measure: Callable[[Both], float | None]) -> list[float | None]:
        return [measure(both[judge]) if judge in both else None for both in table]

    def part(values: Sequence[float | None]) -> Part:
        return mean_part(values, resamples, seed)

    outcomes = {judge: column(judge, outcome) for judge in judges}
    agreements = {judge: column(judge, agreement) for judge in judges}
    metrics = {"order_agreement": part(_row_means(agreements))}
    for judge in judges:
        metrics |= {
            f"order_agreement/{judge}": part(agreements[judge]),
            f"first_chosen/{judge}": part(column(judge, first_chosen)),
            f"wins/{judge}": part(_shares(outcomes[judge], 1.0)),
            f"ties/{judge}": part(_shares(outcomes[judge], 0.5)),
            f"losses/{judge}": part(_shares(outcomes[judge], 0.0)),
        }
    score = score_or_bounds(
        [value for of_judge in outcomes.values() for value in of_judge],
        lambda values: float(np.mean(values)),  # judges have as many pictures each
    )
    whole = [sample.score for sample in samples if sample.score is not None]
    complete = score.score is not None
    return {
        "unit": "share",
        "score": score.score,
        "interval": bootstrap_interval(whole, resamples, seed) if complete else None,
        "bounds": score.bounds,
        "num_samples": len(samples),
        "states": count_states(samples),
        "parts": {judge: part(values) for judge, values in outcomes.items()},
        "metrics": metrics,
    }


def _by_judge(verdicts: Sequence[Verdict]) -> dict[str, Both]:
    found = {(verdict.judge, verdict.order): verdict for verdict in verdicts}
    first, second = ORDERS
    names = dict.fromkeys(verdict.judge for verdict in verdicts)
    return {judge: (found[judge, first], found[judge, second]) for judge in names}


def _row_means(columns: dict[str, list[float | None]]) -> list[float | None]:
    """Return each picture's mean over the judges with a verdict."""
    rows = ([v for v in row if v is not None] for row in zip(*columns.values(), strict=True))
    return [float(np.mean(row)) if row else None for row in rows]


def _shares(values: Sequence[float | None], sought: float) -> list[float | None]:
    return [None if value is None else float(value == sought) for value in values]
