"""How scores are written: shares with three digits, points with two, what is open in words."""

from uae.evaluation.bootstrap import Interval
from uae.evaluation.results import Result, Unit

DIGITS: dict[Unit, int] = {"share": 3, "points": 2}
UNITS: dict[Unit, str] = {"share": "0 to 1", "points": "0 to 100"}
NOTHING = "\N{EN DASH}"


def in_unit(value: float | None, unit: Unit) -> str:
    """Write a score with the digits of its unit."""
    return NOTHING if value is None else f"{value:.{DIGITS[unit]}f}"


def interval_in_unit(interval: Interval, unit: Unit) -> str:
    """Write an interval with the digits of its unit."""
    return f"{in_unit(interval.low, unit)} to {in_unit(interval.high, unit)}"


def score_text(value: float) -> str:
    """Write a measure whose unit is not known."""
    return f"{value:.4g}"


def incomplete(result: Result) -> str:
    """Say how many samples have no verdict; "" if all have one."""
    if result.complete:
        return ""
    errors, missing = result.states.get("judge_error", 0), result.states.get("missing", 0)
    told = f"{errors} judge error{'' if errors == 1 else 's'}, {missing} missing"
    return f"incomplete: {told}, of {result.num_samples}"
