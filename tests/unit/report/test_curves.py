import json

import pytest

from uae.errors import DataError
from uae.report.curves import length_against_reward, panels, read_rows, smoothed


def write(path, rows, end="\n"):
    path.write_text("\n".join(json.dumps(row) for row in rows) + end)
    return path


def test_a_step_run_again_counts_once(tmp_path):
    path = write(
        tmp_path / "m.jsonl",
        [{"step": 0, "loss": 3}, {"step": 1, "loss": 2}, {"step": 1, "loss": 1}],
    )
    assert [row["loss"] for row in read_rows(path)] == [3, 1]


def test_line_of_a_killed_writer_is_left_out(tmp_path):
    path = write(tmp_path / "m.jsonl", [{"step": 0, "loss": 3}], end='\n{"step": 1, "lo')
    assert len(read_rows(path)) == 1


def test_broken_line_in_the_middle_is_named(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text('{"step": 0}\nnonsense\n{"step": 2}\n')
    with pytest.raises(DataError, match="line 2 is not a metrics row: 'nonsense'"):
        read_rows(path)


def test_smoothing_neither_lags_nor_changes_a_line():
    line = [2.0 * value for value in range(40)]
    assert smoothed(line) == pytest.approx(line)


def test_panels_come_in_order_of_importance_and_constants_are_left_out():
    rows = [
        {"step": s, "grad_norm": 1.0 + s, "loss": 2.0 - s, "reward/mean": s, "kl": 0.0}
        for s in range(3)
    ]
    assert [panel.title for panel in panels(rows)] == ["Reward", "Loss", "Gradient norm"]
    assert panels(rows)[0].change == "0 → 2"


def test_unknown_metrics_are_shown_last():
    rows = [{"step": s, "loss": s, "reward/clip": s} for s in range(3)]
    assert [panel.title for panel in panels(rows)] == ["Loss", "reward/clip"]


@pytest.mark.parametrize("measured", ["set_aside/reward", "heldout/reward"])
def test_reward_on_pictures_not_trained_on_joins_the_reward(measured):
    rows = [{"step": s, "reward/mean": s, measured: s / 2} for s in range(3)]
    (panel,) = panels(rows)
    assert panel.chart.count('class="dot dots"') == 3


def test_start_stands_before_the_first_update():
    rows = [{"step": 0, "start/validation/loss": 4.0, "validation/loss": 3.0},
            {"step": 1, "validation/loss": 2.0}]  # fmt: skip
    (panel,) = panels(rows)
    assert (panel.title, panel.change) == ("Validation loss", "4 → 2")
    assert '<text class="tick start" x="46.0" y="168">0<' in panel.chart


def test_values_that_are_not_finite_are_not_drawn():
    rows = [{"step": s, "loss": value} for s, value in enumerate([1.0, float("nan"), 3.0])]
    assert "nan" not in panels(rows)[0].chart


def test_length_needs_both_metrics():
    assert length_against_reward([{"step": 0, "loss": 1}] * 3) is None
