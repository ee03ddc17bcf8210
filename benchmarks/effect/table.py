"""The experiment's result: effect.json, and effect.md for a reader."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.effect.arms import ARMS, STAGE_NAMES, Comparison, Point
from benchmarks.effect.differences import (
    CAPTION_MEASURES,
    HELDOUT,
    RESAMPLES,
    Difference,
    Judged,
    Level,
    difference,
    level,
    measure_names,
)
from uae.evaluation.bootstrap import Interval

FORMAT = 2
ABLATION_MEASURES = ("overall", HELDOUT, *CAPTION_MEASURES[:-1])
LOST_MEASURES = ("overall", HELDOUT)
SHARES = ("attribute_recall", "attribute_precision", "text_fidelity", "repetition")  # 0 to 1


@dataclass(frozen=True)
class Claim:
    """What must hold if the loop learns: the whole interval on one side of a limit.

    "Does not get worse" has a margin that was fixed beforehand, so that few scenes do not make it
    easier.
    """

    comparison: str
    measure: str
    words: str
    above: float | None = None
    below: float | None = None

    def __str__(self) -> str:
        return f"{self.measure} {self.words}: {self.comparison}"

    def holds(self, interval: Interval) -> bool:
        return (self.above is None or interval.low > self.above) and (
            self.below is None or interval.high < self.below
        )


CLAIMS = (
    Claim("all stages after Stage 1", "overall", "rises", above=0),
    Claim("all stages after Stage 1", HELDOUT, "rises", above=0),
    Claim("GfU", "overall", "rises", above=0),
    Claim("GfU", HELDOUT, "rises", above=0),
    Claim("GfU", "attribute_recall", "rises", above=0),
    Claim("GfU", "caption_words", "rises", above=0),
    Claim("GfU", "attribute_precision", "does not fall by 0.05", above=-0.05),
    Claim("GfU", "text_fidelity", "does not fall by 0.05", above=-0.05),
    Claim("GfU", "repetition", "does not rise by 0.05", below=0.05),
)

Found = dict[str, Difference | None]  # by measure


@dataclass(frozen=True)
class Effect:
    """Everything that the tables and the plot show."""

    settings: Mapping[str, Any]
    levels: Mapping[Point, Mapping[str, Level | None]]
    differences: Sequence[tuple[Comparison, Found]]

    @property
    def measures(self) -> list[str]:
        return list(next(iter(self.levels.values())))

    def claims(self) -> list[tuple[str, bool | None, bool | None]]:
        """Return each claim with whether its two intervals bear it out; None where unknown."""
        found = {comparison.name: by_measure for comparison, by_measure in self.differences}
        claims = []
        for claim in CLAIMS:
            result = found[claim.comparison].get(claim.measure)
            wide = result and result.wide_interval
            claims.append(
                (
                    str(claim),
                    None if result is None else claim.holds(result.interval),
                    None if wide is None else claim.holds(wide),
                )
            )
        return claims


def find_effect(
    judged: Mapping[Point, Sequence[Judged]],
    wanted: Sequence[Comparison],
    settings: Mapping[str, Any],
) -> Effect:
    """Compute all levels and differences.

    Args:
        judged: For each point, one entry for each seed, in the same order everywhere.
        wanted: Comparisons between these points.
        settings: What the experiment was run with.
    """
    names = measure_names(next(iter(judged.values()))[0])
    levels = {point: {n: level(n, seeds) for n in names} for point, seeds in judged.items()}
    differences = [
        (c, {name: difference(name, judged[c.before], judged[c.after]) for name in names})
        for c in wanted
    ]
    return Effect(settings, levels, differences)


def write_json(effect: Effect, path: Path) -> None:
    """Write all numbers, the difference of every single seed included."""
    content = {
        "format": FORMAT,
        "settings": dict(effect.settings),
        "levels": [
            {**asdict(point), **{name: found and asdict(found) for name, found in row.items()}}
            for point, row in effect.levels.items()
        ],
        "differences": [
            {
                **asdict(comparison),
                "measures": {n: found and asdict(found) for n, found in row.items()},
            }
            for comparison, row in effect.differences
        ],
        "claims": [
            {"claim": text, "holds": holds, "holds_by_wide_interval": wide}
            for text, holds, wide in effect.claims()
        ],
    }
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def write_markdown(effect: Effect, path: Path, plot: str) -> None:
    """Write the tables."""
    parts = [
        "# Does the loop learn?",
        _introduction(effect.settings),
        "## What must hold if the loop learns",
        _table(
            ("claim", "bootstrap", "Student"),
            [
                (text, *({True: "yes", False: "NO", None: "unknown"}[ok] for ok in both))
                for text, *both in effect.claims()
            ],
        ),
        "## What each stage contributes",
        _arms(effect),
        f"![Levels and differences]({plot})",
        "## Models",
        _levels(effect),
        "## Paired differences",
        *(part for row in effect.differences for part in _difference_table(*row)),
    ]
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _introduction(settings: Mapping[str, Any]) -> str:
    seeds = ", ".join(map(str, settings["seeds"]))
    lines = [
        f"Recipe `{settings['recipe']}`, data `{settings['data']}`, seeds {seeds}, "
        f"{settings['num_scenes']} held-out scenes (fixed beforehand; no stage learns "
        "from them, or chooses weights by them).",
        f"Intervals: 95 %, bootstrap over seeds, then scenes ({RESAMPLES} resamples; the drawn "
        "scenes are the same for all drawn seeds). Differences are paired by seed and scene. "
        "A bootstrap never looks beyond the seeds that it has; with few of them Student's interval "
        "(seeds and scenes as random effects) is the careful one.",
        f"Picture scores are points, 0 to 100. `{HELDOUT}`: mean of the slots that no stage had as "
        f"its reward ({', '.join(settings['heldout_slots']) or 'there is none'}). Shares, 0 to 1: "
        "true attributes that the caption tells (recall); what it states of objects that is true "
        "(precision); pictures with a word whose caption quotes exactly it; repeated words.",
        f"The times of all pieces add up to {settings['seconds'] / 60:.0f} minutes, of "
        f"{settings['num_threads']} thread(s) each.",
    ]
    if settings["num_code_versions"] > 1:
        lines.append(
            f"**The pieces were made by {settings['num_code_versions']} versions of the code:** "
            "remove their folders to make them anew."
        )
    return "\n".join(lines)


def _arms(effect: Effect) -> str:
    """Return the ablation table: every arm's last model, and the whole loop minus that model."""
    against = {
        comparison.before: found
        for comparison, found in effect.differences
        if comparison.before.arm != comparison.after.arm
    }
    shown = [name for name in ABLATION_MEASURES if name in effect.measures]
    rows = []
    for name in effect.settings["arms"]:
        last = Point(name, ARMS[name].stages[-1])
        cells = [_show(effect.levels[last][measure], measure) for measure in shown]
        lost = [_change(against[last][m], m) if last in against else "" for m in LOST_MEASURES]
        rows.append((name, ARMS[name].what, *cells, *lost))
    head = ("arm", "what", *shown, *(f"whole loop minus this, {m}" for m in LOST_MEASURES))
    return _table(head, rows)


def _levels(effect: Effect) -> str:
    models: dict[tuple[str, ...], list[Point]] = {}  # models that arms share stand once
    for point, row in effect.levels.items():
        cells = (STAGE_NAMES[point.stage], *(_show(found, name) for name, found in row.items()))
        models.setdefault(cells, []).append(point)
    rows = [(", ".join(point.arm for point in points), *cells) for cells, points in models.items()]
    return _table(("arm", "after", *effect.measures), rows)


def _difference_table(comparison: Comparison, row: Found) -> list[str]:
    before, after = comparison.before, comparison.after
    arms = before.arm if before.arm == after.arm else f"{before.arm} -> {after.arm}"
    title = f"### {comparison.name[0].upper()}{comparison.name[1:]}"
    stages = f"{STAGE_NAMES[before.stage]} -> {STAGE_NAMES[after.stage]} ({arms})"
    rows = []
    for name, found in row.items():
        if found is None:
            rows.append((name, "", "", "truth unknown", "", "", ""))
            continue
        digits = _digits(name)
        rows.append(
            (
                name,
                f"{found.before:.{digits}f}",
                f"{found.after:.{digits}f}",
                _change(found, name),
                {1: "above zero", -1: "below zero", 0: "not told apart from zero"}[found.sign],
                _interval(found.wide_interval, digits),
                ", ".join(f"{value:+.{digits}f}" for value in found.by_seed),
            )
        )
    head = ("measure", "before", "after", "difference", "interval is", "Student's", "seed by seed")
    return [title, stages, _table(head, rows)]


def _show(found: Level | None, name: str) -> str:
    if found is None:
        return "unknown"
    digits = _digits(name)
    low, high = found.interval
    return f"{found.mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _change(found: Difference | None, name: str) -> str:
    if found is None:
        return "unknown"
    digits = _digits(name)
    low, high = found.interval
    return f"{found.difference:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"


def _interval(found: Interval | None, digits: int) -> str:
    return "unknown" if found is None else f"[{found.low:+.{digits}f}, {found.high:+.{digits}f}]"


def _digits(measure: str) -> int:
    return 1 if measure == "caption_words" else 3 if measure in SHARES else 2


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
