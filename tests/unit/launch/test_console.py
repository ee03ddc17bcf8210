"""What a person sees of a pipeline's output, and what the log and the record keep."""

import io
from collections import deque
from pathlib import Path

import pytest
from rich.console import Console

from uae.launch import events
from uae.launch.console import RunConsole
from uae.launch.events import emit, parse_event
from uae.launch.tee import Tee


def run_console(log, screen, *, on_fault=lambda: None):
    terminal = Console(file=screen, width=60)
    return RunConsole(log, 14, terminal, on_output=lambda: None, on_fault=on_fault)


def shown(text: str) -> tuple[str, str]:
    """Return what is shown of a pipeline's output, and what is logged."""
    screen, log = io.StringIO(), io.StringIO()
    console = run_console(log, screen)
    with console.shown():
        console.write(text)
    return screen.getvalue(), log.getvalue()


def test_steps_are_numbered_and_the_rest_is_only_logged():
    output = (
        "12:00:00 - INFO - Executing task\n"
        '    @uae {"kind": "started", "step": "validate_data", "attempt": 1}\n'
        '    @uae {"kind": "succeeded", "step": "validate_data", "seconds": 3.25}\n'
        '    @uae {"kind": "restored", "step": "evaluate_unified_bench/cold_start", "seconds": 9}\n'
    )
    screen, log = shown(output)
    first, second = screen.splitlines()
    assert first.startswith("[ 1/14] validate_data ")
    assert first.endswith("3.2 s")
    assert second.startswith("[ 2/14] evaluate_unified_bench/cold_start ")
    assert second.endswith("9.0 s  (done before)")
    assert log == output


def test_progress_of_the_running_stage_is_shown():
    screen, _ = shown(
        '@uae {"kind": "started", "step": "cold_start"}\n'
        "    cold_start 3/10  loss 0.5\n"
        "    other_stage 3/10  loss 0.5\n"
    )
    assert screen == "        3/10  loss 0.5\n"


def test_a_line_may_arrive_in_pieces():
    screen, log = io.StringIO(), io.StringIO()
    console = run_console(log, screen)
    for piece in ("    ", '@uae {"kind": "failed", "st', 'ep": "gate", "seconds": 1}', "\n"):
        console.write(piece)
    assert "[ 1/14] gate" in screen.getvalue()
    assert "failed" in screen.getvalue()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, as on Linux")
def test_log_on_a_full_disk_ends_the_step_before_the_error_is_raised():
    killed = []
    log = open("/dev/full", "w", 1, encoding="utf-8")  # noqa: SIM115 - its close fails too
    console = run_console(log, io.StringIO(), on_fault=lambda: killed.append(True))
    with pytest.raises(OSError, match="No space left"):
        console.write("a line\n")
    assert killed
    with pytest.raises(OSError, match="No space left"):
        log.close()


def test_lines_that_only_look_like_events_are_text():
    assert parse_event("@uae is a fine name") is None
    assert parse_event("a caption") is None


def test_events_are_written_only_for_a_parent_that_listens(monkeypatch, capsys):
    monkeypatch.setattr(events.sys, "__stdout__", events.sys.stdout)
    monkeypatch.delenv(events.EVENTS_VARIABLE, raising=False)
    emit("started", "gate")
    assert capsys.readouterr().out == ""
    monkeypatch.setenv(events.EVENTS_VARIABLE, "1")
    emit("started", "gate", attempt=1)
    event = parse_event(capsys.readouterr().out)
    assert event is not None
    assert (event.kind, event.step, event.facts) == ("started", "gate", {"attempt": 1})


def test_tee_keeps_lines_and_the_last_state_of_a_rewritten_one():
    below, lines = io.StringIO(), deque(maxlen=2)
    tee = Tee(below, lines)
    tee.write("first\nsecond\n10 %\r")
    tee.write("20 %\r30 %\n\n")
    assert list(lines) == ["second", "30 %"]
    assert below.getvalue() == "first\nsecond\n10 %\r20 %\r30 %\n\n"
