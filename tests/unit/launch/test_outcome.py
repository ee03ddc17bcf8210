"""What the person is told at the end of a run."""

import json

from uae.launch.events import Event
from uae.launch.outcome import explain_failure, how_to_resume, summarise


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
    assert text.endswith(f"uae run --resume tonight --run-root {tmp_path}")


def test_failure_without_a_record_is_told_from_the_event_or_from_kfp(tmp_path):
    event = Event("failed", "gate", {"error": {"message": "the store is gone"}})
    assert explain_failure(tmp_path, [], event, "x").startswith("gate failed: the store is gone")
    assert explain_failure(tmp_path, [], None, "kfp said no").startswith("kfp said no\n")
    assert how_to_resume(tmp_path) in explain_failure(tmp_path, [], None, "x")


def test_summary_shows_scores_gate_cost_and_places(tmp_path):
    bench = {"overall": 81.5, "interval": [80.1, 82.9]}
    values = {
        "stages": {"cold_start": {"unified_bench": bench}},
        "gate": {"decision": "reject"},
        "wall_seconds": 61.2,
        "peak_memory_bytes": 3 * 2**30,
    }
    (tmp_path / "metrics.json").write_text(json.dumps(values))
    text = summarise(tmp_path)
    for part in ("cold_start", "81.50", "[80.10, 82.90]", "reject", "61 s", "3.0 GiB"):
        assert part in text
    assert text.splitlines()[-1] == f"report: {tmp_path / 'report.html'}"
