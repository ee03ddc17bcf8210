import pytest
from markupsafe import Markup

from uae.report.charts import (
    MAX_POINTS,
    Located,
    Scored,
    Series,
    cloud_chart,
    histogram,
    interval_chart,
    line_chart,
    nice_ticks,
    path_chart,
    thinned,
    tick_names,
)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, [0, 0.5, 1]),
        (73, 90, [75, 80, 85, 90]),
        (0, 1e-4, [0, 5e-5, 1e-4]),
        (-1, 1, [-1, 0, 1]),
    ],
)  # fmt: skip
def test_ticks_are_round_and_at_least_three(low, high, ticks):
    assert nice_ticks(low, high) == pytest.approx(ticks)


@pytest.mark.parametrize(
    ("ticks", "names"),
    [
        ([0.7, 0.75, 0.8], ["0.70", "0.75", "0.80"]),
        ([10.0, 20.0], ["10", "20"]),
        ([0, 5e-5, 1e-4], ["0", "5e-05", "0.0001"]),
    ],
)
def test_tick_names_have_the_digits_that_tell_them_apart(ticks, names):
    assert tick_names(ticks) == names


def test_thinning_keeps_the_mean_and_the_last_step():
    series = Series("x", range(1000), [float(value) for value in range(1000)], "main")
    thin = thinned(series)
    assert len(thin.xs) == len(thin.ys) <= MAX_POINTS
    assert thin.xs[-1] == 999
    assert thin.ys[0] == 1.5  # mean of 0, 1, 2, 3


def test_short_series_are_left_alone():
    series = Series("x", [0, 1], [1.0, 2.0], "main")
    assert thinned(series) is series


def test_line_reaches_from_edge_to_edge():
    # 138 units stand for -0.08 .. 1.08, so 0 lies 138 * 0.08 / 1.16 = 9.5 above the axis at 150.
    svg = line_chart([Series("loss", [0, 10], [0.0, 1.0], "main")], label="loss")
    assert 'points="46.0,140.5 326.0,21.5"' in svg


def test_text_is_escaped_everywhere():
    name = '<b>"x"</b>'
    charts = [
        line_chart([Series(name, [0, 1], [0, 1], "dots")], label=name),
        interval_chart([Scored(name, 1, 0, 2)], label=name),
        path_chart(
            [Located(name, 1, 2), Located(name, 2, 3)], label=name, x_name=name, y_name=name
        ),
        cloud_chart([Located(name, 1, 2), Located(name, 2, 3)], label=name, x_name=name),
        histogram([0, 1], [3], label=name),
    ]
    assert all(isinstance(chart, Markup) and "<b>" not in chart for chart in charts)
    assert all('role="img" aria-label=' in chart for chart in charts)


def test_constant_values_have_an_axis_too():
    assert "<polyline" in line_chart([Series("x", [0, 1], [2.0, 2.0], "main")], label="x")
