"""The experiment's result: effect.json, and effect.md for a reader."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.effect.arms import ARMS, STAGE_NAMES, Comparison, Point
from benchmarks.effect.differences import (
    HELDOUT,
    RESAMPLES,
    Difference,
    Judged,
    Level,
    difference,
    level,
    measure_names,
)

FORMAT = 1
UNITS = {  # of what is not in points of 0 to 100
    "attribute_recall": "share of true attributes that the caption mentions",
    "caption_words": "words",
    "text_fidelity": "share of pictures with a word whose caption quotes it",
    "repetition": "share of repeated words",
}
CLAIMS = (  # what must hold if the loop learns: comparison, measure, allowed signs, in words
    ("all stages after Stage 1", "overall", (1,), "rises"),
    ("all stages after Stage 1", HELDOUT, (1,), "rises"),
    ("GfU", "overall", (1,), "rises"),
    ("GfU", HELDOUT, (1,), "rises"),
    ("GfU", "attribute_recall", (1,), "rises"),
    ("GfU", "caption_words", (1,), "rises"),
    ("GfU", "text_fidelity", (0, 1), "does not fall"),
    ("GfU", "repetition", (-1, 0), "does not rise"),
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

    def claims(self) -> list[tuple[str, bool | None]]:
        """Return each claim with whether its interval bears it out; None where unknown."""
        found = {comparison.name: by_measure for comparison, by_measure in self.differences}
        claims = []
        for name, measure, signs, words in CLAIMS:
            result = found[name].get(measure)
            text = f"{measure} {words}: {name}"
            claims.append((text, None if result is None else result.sign in signs))
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
        "claims": [{"claim": text, "holds": holds} for text, holds in effect.claims()],
    }
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def write_markdown(effect: Effect, path: Path, plot: str) -> None:
    """Write the tables."""
    parts = [
        "# What each stage contributes",
        _introduction(effect.settings),
        "## What must hold if the loop learns",
        _table(
            ("claim", "holds"),
            [
                (text, {True: "yes", False: "NO", None: "unknown"}[ok])
                for text, ok in effect.claims()
            ],
        ),
        f"![Levels and differences]({plot})",
        "## Models",
        _levels(effect),
        "## Paired differences",
        *(part for row in effect.differences for part in _difference_table(*row)),
        "## Arms",
        _table(("arm", "what"), [(name, ARMS[name].what) for name in effect.settings["arms"]]),
    ]
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _introduction(settings: Mapping[str, Any]) -> str:
    seeds = ", ".join(map(str, settings["seeds"]))
    lines = [
        f"Recipe `{settings['recipe']}`, data `{settings['data']}`, seeds {seeds}, "
        f"{settings['num_scenes']} held-out scenes (fixed beforehand; no stage saw them, not for "
        "early stopping either).",
        f"Intervals: 95 %, bootstrap over seeds, then scenes ({RESAMPLES} resamples; the drawn "
        "scenes are the same for all drawn seeds). Differences are paired by seed and scene.",
        f"Picture scores are points, 0 to 100. `{HELDOUT}`: mean of the slots that no stage had as "
        f"its reward ({', '.join(settings['heldout_slots']) or 'there is none'}).",
        f"Making all pieces took {settings['seconds'] / 60:.0f} minutes.",
    ]
    if settings["num_code_versions"] > 1:
        lines.append(
            f"**The pieces were made by {settings['num_code_versions']} versions of the code:** "
            "remove their folders to make them anew."
        )
    return "\n".join(lines)


def _levels(effect: Effect) -> str:
    rows = [
        (str(point), *(_show(found, name) for name, found in row.items()))
        for point, row in effect.levels.items()
    ]
    return _table(("model", *effect.measures), rows)


def _difference_table(comparison: Comparison, row: Found) -> list[str]:
    before, after = comparison.before, comparison.after
    arms = before.arm if before.arm == after.arm else f"{before.arm} -> {after.arm}"
    title = f"### {comparison.name[0].upper()}{comparison.name[1:]}"
    stages = f"{STAGE_NAMES[before.stage]} -> {STAGE_NAMES[after.stage]} ({arms})"
    rows = []
    for name, found in row.items():
        if found is None:
            rows.append((name, "", "", "truth unknown", "", ""))
            continue
        digits = _digits(name)
        low, high = found.interval
        rows.append(
            (
                name,
                f"{found.before:.{digits}f}",
                f"{found.after:.{digits}f}",
                f"{found.difference:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]",
                {1: "above zero", -1: "below zero", 0: "not told apart from zero"}[found.sign],
                ", ".join(f"{value:+.{digits}f}" for value in found.by_seed),
            )
        )
    head = ("measure", "before", "after", "difference", "interval is", "seed by seed")
    return [title, stages, _table(head, rows)]


def _show(found: Level | None, name: str) -> str:
    if found is None:
        return "unknown"
    digits = _digits(name)
    low, high = found.interval
    return f"{found.mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _digits(measure: str) -> int:
    return 1 if measure == "caption_words" else 3 if measure in UNITS else 2


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
