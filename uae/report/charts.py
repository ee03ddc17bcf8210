"""Charts as inline SVG, drawn by hand: no script, small, coloured by the page's style sheet.

All charts share one width in SVG units, near a phone's width in pixels, so that text keeps its
size. Colours are CSS classes; the page's style sheet defines them for light and dark.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from markupsafe import Markup

from uae.report.page import number

WIDTH, HEIGHT = 340, 180
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 12, 30
MAX_POINTS = 300


class Series(NamedTuple):
    """One line of a chart. `style` is a CSS class: main, faint, other or dots."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    style: str


class Scored(NamedTuple):
    """A named value with its interval."""

    name: str
    value: float
    low: float
    high: float


class Located(NamedTuple):
    """A named point."""

    name: str
    x: float
    y: float


class Frame(NamedTuple):
    """Maps data to SVG units."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float

    def x(self, value: float) -> float:
        """Return the horizontal position."""
        share = (value - self.x_low) / (self.x_high - self.x_low)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        """Return the vertical position."""
        share = (value - self.y_low) / (self.y_high - self.y_low)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)


def line_chart(series: Sequence[Series], *, label: str, x_name: str = "updates") -> Markup:
    """Draw lines over a common axis. At most MAX_POINTS points are drawn of each (means)."""
    thin = [thinned(one) for one in series if one.xs]
    x_low, x_high = _limits([x for one in thin for x in one.xs])
    frame = Frame(x_low, x_high, *_padded([y for one in thin for y in one.ys]))
    marks = [_marks(one, frame) for one in thin]
    ends = [(x_low, "start"), (x_high, "end")]
    axis = [_text(frame.x(x), HEIGHT - 12, number(x), f"tick {anchor}") for x, anchor in ends]
    axis.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, x_name, "tick middle"))
    return _svg(label, [*_grid(frame), *axis, *marks])


def interval_chart(points: Sequence[Scored], *, label: str) -> Markup:
    """Draw values with whiskers, from left to right in the given order."""
    values = [edge for point in points for edge in (point.low, point.high, point.value)]
    frame = Frame(-0.5, len(points) - 0.5, *_padded(values))
    path = _polyline([(frame.x(i), frame.y(p.value)) for i, p in enumerate(points)], "faint")
    parts = [*_grid(frame), path]
    for index, point in enumerate(points):
        x, y = frame.x(index), frame.y(point.value)
        parts.append(_line(x, frame.y(point.low), x, frame.y(point.high), "whisker"))
        parts.append(_dot(x, y, f"stage-{index}", f"{point.name}: {point.value:.2f}"))
        parts.append(_text(x, HEIGHT - 12, point.name, "tick middle"))
    return _svg(label, parts)


def path_chart(points: Sequence[Located], *, label: str, x_name: str, y_name: str) -> Markup:
    """Draw named points joined in order: where one quantity went while another grew."""
    frame = Frame(*_padded([p.x for p in points], 0.22), *_padded([p.y for p in points], 0.25))
    places = [(frame.x(p.x), frame.y(p.y)) for p in points]
    parts = [*_grid(frame), *_x_ticks(frame), _polyline(places, "faint")]
    for index, (point, (x, y)) in enumerate(zip(points, places, strict=True)):
        title = f"{point.name}: {x_name} {number(point.x)}, {y_name} {number(point.y)}"
        parts.append(_dot(x, y, f"stage-{index}", title))
        parts.append(_text(x, _label_height(places, index), point.name, "name middle"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 1, x_name, "tick middle"))
    return _svg(label, parts, height=HEIGHT + 6)


def cloud_chart(points: Sequence[Located], *, label: str, x_name: str) -> Markup:
    """Draw unnamed points, shaded from the first (pale) to the last (strong)."""
    thin = points[:: math.ceil(len(points) / MAX_POINTS)]
    frame = Frame(*_padded([p.x for p in thin]), *_padded([p.y for p in thin]))
    parts = [*_grid(frame), *_x_ticks(frame)]
    for index, point in enumerate(thin):
        opacity = 0.2 + 0.8 * index / max(1, len(thin) - 1)
        parts.append(
            Markup('<circle class="cloud" cx="{}" cy="{}" r="3" opacity="{:.2f}"/>').format(
                frame.x(point.x), frame.y(point.y), opacity
            )
        )
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 1, x_name, "tick middle"))
    return _svg(label, parts, height=HEIGHT + 6)


def histogram(edges: Sequence[float], counts: Sequence[int], *, label: str) -> Markup:
    """Draw counts as bars between `edges`, one more than counts."""
    frame = Frame(edges[0], edges[-1], 0.0, max(1.0, float(max(counts))) * 1.05)
    parts = [*_grid(frame), *_x_ticks(frame)]
    for low, high, count in zip(edges, edges[1:], counts, strict=False):
        x, y = frame.x(low), frame.y(count)
        parts.append(
            Markup(
                '<rect class="bar" x="{}" y="{}" width="{:.1f}" height="{:.1f}">'
                "<title>{} to {}: {}</title></rect>"
            ).format(x + 0.5, y, max(0.5, frame.x(high) - x - 1), frame.y(0) - y,
                     number(low), number(high), count)
        )  # fmt: skip
    return _svg(label, parts)


def thinned(series: Series) -> Series:
    """Return the series with at most MAX_POINTS points, each the mean of its neighbours."""
    width = math.ceil(len(series.xs) / MAX_POINTS)
    if width <= 1:
        return series
    starts = range(0, len(series.xs), width)
    xs = [series.xs[min(start + width, len(series.xs)) - 1] for start in starts]
    ys = [_mean(series.ys[start : start + width]) for start in starts]
    return series._replace(xs=xs, ys=ys)


def nice_ticks(low: float, high: float, count: int = 3) -> list[float]:
    """Return at least `count` round numbers within [low, high], low < high, and few more."""
    power = 10.0 ** math.floor(math.log10(high - low))
    for step in (power * factor for factor in (5, 2, 1, 0.5, 0.2, 0.1, 0.05)):
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first + 1 >= count:
            break
    return [round(index * step, 12) for index in range(first, last + 1)]


def tick_names(ticks: Sequence[float]) -> list[str]:
    """Write ticks with as many digits as tell them apart."""
    step = min((b - a for a, b in itertools.pairwise(ticks)), default=1.0)
    largest = max(map(abs, ticks))
    if largest < 1e-3 or largest >= 1e6:
        return [f"{tick:.4g}" for tick in ticks]
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return [f"{tick:,.{digits}f}" for tick in ticks]


def _marks(series: Series, frame: Frame) -> Markup:
    places = [(frame.x(x), frame.y(y)) for x, y in zip(series.xs, series.ys, strict=True)]
    if series.style == "dots":
        titles = [
            f"{series.name} at {number(x)}: {number(y)}"
            for x, y in zip(series.xs, series.ys, strict=True)
        ]
        dots = [_dot(*place, "dots", title) for place, title in zip(places, titles, strict=True)]
        return Markup("").join(dots)
    if len(places) == 1:
        return _dot(*places[0], series.style, series.name)
    return _polyline(places, series.style)


def _grid(frame: Frame) -> Iterable[Markup]:
    ticks = nice_ticks(frame.y_low, frame.y_high)
    for tick, name in zip(ticks, tick_names(ticks), strict=True):
        y = frame.y(tick)
        yield _line(LEFT, y, WIDTH - RIGHT, y, "grid")
        yield _text(LEFT - 6, y + 3.5, name, "tick end")


def _x_ticks(frame: Frame) -> list[Markup]:
    ticks = nice_ticks(frame.x_low, frame.x_high)
    names = zip(ticks, tick_names(ticks), strict=True)
    return [_text(frame.x(tick), HEIGHT - 15, name, "tick middle") for tick, name in names]


def _label_height(places: Sequence[tuple[float, float]], index: int) -> float:
    """Return where a point's name stands: above it, or below if a neighbour's name is close."""
    x, y = places[index]
    crowded = (
        index > 0 and abs(x - places[index - 1][0]) < 70 and abs(y - places[index - 1][1]) < 24
    )
    return y + 18 if crowded and index % 2 else y - 9


def _limits(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _padded(values: Sequence[float], share: float = 0.08) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = (high - low) * share or abs(high) * 0.1 or 0.5
    return low - margin, high + margin


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _polyline(places: Sequence[tuple[float, float]], style: str) -> Markup:
    points = " ".join(f"{x},{y}" for x, y in places)
    return Markup('<polyline class="line {}" points="{}"/>').format(style, points)


def _line(x1: float, y1: float, x2: float, y2: float, style: str) -> Markup:
    return Markup('<line class="{}" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(
        style, x1, y1, x2, y2
    )


def _dot(x: float, y: float, style: str, title: str) -> Markup:
    return Markup(
        '<circle class="dot {}" cx="{}" cy="{}" r="4.5"><title>{}</title></circle>'
    ).format(style, x, y, title)


def _text(x: float, y: float, text: str, style: str) -> Markup:
    return Markup('<text class="{}" x="{}" y="{}">{}</text>').format(style, x, y, text)


def _svg(label: str, parts: Iterable[Markup], height: int = HEIGHT) -> Markup:
    return Markup(
        '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
    ).format(WIDTH, height, label, Markup("").join(parts))
