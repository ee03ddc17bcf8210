"""The experiment's picture: every model's scores, and what each comparison changed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.effect.arms import ARMS, FULL, STAGE_NAMES, Point
from benchmarks.effect.differences import HELDOUT
from benchmarks.effect.table import Effect

COLORS = ("#1b4f72", "#c0561a", "#4b8b3b", "#7d3c98")
MARKERS = ("o", "s", "^", "D")
PANELS = (
    ("overall", "Unified-Bench overall, points"),
    (HELDOUT, "held-out scorers, points"),
    ("attribute_recall", "true attributes told, share"),
    ("caption_words", "caption, words"),
)


def draw(effect: Effect, path: Path) -> None:
    """Draw to a PNG: one panel for each of some measures, below them the paired differences."""
    panels = [(name, title) for name, title in PANELS if name in effect.measures]
    figure = Figure(figsize=(4 * len(panels), 8.5), dpi=110, layout="constrained")
    grid = figure.add_gridspec(2, len(panels))
    for column, (measure, title) in enumerate(panels):
        axes = figure.add_subplot(grid[0, column])
        _draw_levels(axes, effect, measure, title)
        if column == 0:
            axes.legend(fontsize=8)
        forest = figure.add_subplot(grid[1, column])
        _draw_differences(forest, effect, measure, named=column == 0)
    figure.savefig(path)


def _draw_levels(axes: Any, effect: Effect, measure: str, title: str) -> None:
    names = list(STAGE_NAMES)
    arms: Sequence[str] = effect.settings["arms"]
    for number, arm in enumerate(arms):
        points = [Point(arm, stage) for stage in ARMS[arm].stages]
        found = [(point.stage, effect.levels[point][measure]) for point in points]
        known = [(names.index(stage), one) for stage, one in found if one is not None]
        if not known:
            continue
        # A little aside, so that arms do not hide each other.
        places = [place + 0.06 * (number - (len(arms) - 1) / 2) for place, _ in known]
        means = [one.mean for _, one in known]
        spread = [
            [one.mean - one.interval.low for _, one in known],
            [one.interval.high - one.mean for _, one in known],
        ]
        axes.errorbar(
            places,
            means,
            yerr=spread,
            label=arm,
            color=COLORS[number % len(COLORS)],
            marker=MARKERS[number % len(MARKERS)],
            linewidth=2 if arm == FULL else 1,
            linestyle="-" if arm == FULL else "--",
            capsize=2,
        )
    axes.set_xticks(range(len(names)), [STAGE_NAMES[name] for name in names])
    axes.set_title(title, fontsize=10)
    axes.grid(axis="y", alpha=0.3)


def _draw_differences(axes: Any, effect: Effect, measure: str, *, named: bool) -> None:
    rows = list(reversed(effect.differences))
    for place, (_, found) in enumerate(rows):
        one = found[measure]
        if one is None:
            continue
        low, high = one.interval
        color = COLORS[0] if one.sign else "#888888"
        axes.plot([low, high], [place, place], color=color, linewidth=2)
        axes.plot(one.difference, place, "o", color=color)
        axes.plot(one.by_seed, [place] * len(one.by_seed), "|", color=color, markersize=9)
    axes.axvline(0, color="black", linewidth=0.8)
    labels = [comparison.name for comparison, _ in rows]
    axes.set_yticks(range(len(rows)), labels if named else [""] * len(rows), fontsize=8)
    axes.set_ylim(-0.5, len(rows) - 0.5)
    axes.set_title("difference, 95 % interval, | seeds", fontsize=9)
    axes.grid(axis="x", alpha=0.3)
