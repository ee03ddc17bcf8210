"""What the person is told at the end of a run."""

import json
import sys
from pathlib import Path

import pytest

from uae.errors import StoreError
from uae.launch.events import Event
from uae.launch.outcome import collect, explain_failure, how_to_resume, summarise


def test_failure_names_step_reason_and_the_way_on(tmp_path):
    folder = tmp_path / "tonight"
    folder.mkdir()
    (folder / "report.html").write_text("")
    records = [
        {"step": "validate_data", "status": "succeeded", "error": None},
        {"step": "cold_start", "status": "failed", "error": {"message": "loss is NaN"}},
    ]
    text = explain_failure(folder, records, None, "kfp said no")
    assert text.splitlines()[0] == "cold_start failed: loss is NaN"
    assert str(folder / "report.html") in text
    assert text.endswith(f" run --resume tonight --run-root {tmp_path}")


def test_failure_without_a_record_is_told_from_the_event_or_from_kfp(tmp_path):
    event = Event("failed", "gate", {"error": {"message": "the store is gone"}})
    assert explain_failure(tmp_path, [], event, "x").startswith("gate failed: the store is gone")
    assert explain_failure(tmp_path, [], None, "kfp said no").startswith("kfp said no\n")
    assert how_to_resume(tmp_path) in explain_failure(tmp_path, [], None, "x")


@pytest.mark.parametrize(
    ("started", "program"),
    [
        (".venv/bin/uae", ".venv/bin/uae"),
        ("/my venv/bin/uae", "'/my venv/bin/uae'"),
        ("/lib/uae/cli.py", f"{sys.executable} -m uae.cli"),
    ],
)
def test_way_on_can_be_typed_as_it_stands(monkeypatch, started, program):
    monkeypatch.setattr(sys, "argv", [started, "run"])
    assert how_to_resume(Path("/r/a")) == f"resume with: {program} run --resume a --run-root /r"


class HalfStore:
    """Has every result, and breaks off in the middle of each."""

    def exists(self, key):
        return True

    def get_file(self, key, path):
        path.write_text("half")
        raise StoreError("gone")

    def get_folder(self, prefix, folder):
        (folder / "half").write_text("half")
        raise StoreError("gone")


def test_results_of_before_stay_if_new_ones_cannot_be_fetched(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    for name in ("report.html", "metrics.json", "model/model.json"):
        (tmp_path / name).write_text("whole")
    with pytest.raises(StoreError):
        collect(HalfStore(), tmp_path)
    monkeypatch.setattr(HalfStore, "get_file", lambda self, key, path: path.write_text("whole"))
    with pytest.raises(StoreError):
        collect(HalfStore(), tmp_path)
    found = {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert set(found.values()) == {"whole"}
    assert tmp_path / "model" / "model.json" in found


def test_summary_shows_scores_gate_cost_and_places(tmp_path):
    bench = {"overall": 81.5, "interval": [80.1, 82.9]}
    values = {
        "stages": {"cold_start": {"unified_bench": bench}},
        "gate": {"decision": "reject", "reasons": ["overall 81.50, required 85.00"]},
        "wall_seconds": 61.2,
        "import_seconds": 6.12,
        "outside_steps_seconds": 3.06,
        "peak_memory_bytes": 3 * 2**30,
    }
    (tmp_path / "metrics.json").write_text(json.dumps(values))
    text = summarise(tmp_path)
    for part in (
        "cold_start",
        "81.50",
        "[80.10, 82.90]",
        "gate: reject\n    overall 81.50, required 85.00\n",
        "61 s, of that 10.0% imports and 5.0% outside the steps",
        "3.0 GiB",
    ):
        assert part in text
    assert text.splitlines()[-1] == f"report: {tmp_path / 'report.html'}"
