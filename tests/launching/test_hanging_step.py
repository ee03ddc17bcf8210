"""A stage that trains in the step's own process and hangs."""

import re
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from launching.stage_step import STAGE, StageStep
from stage_world import stage_recipe

from uae.launch import stage
from uae.recipe_files import dump_recipe
from uae.training import watchdog


def test_step_that_hangs_leaves_a_record_before_its_process_ends(
    stage_step: StageStep, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe = stage_recipe(stage_step.world, STAGE, num_updates=2)
    patience = recipe.faults.model_copy(update={"patience_seconds": 1})
    stage_step.recipe = dump_recipe(recipe.model_copy(update={"faults": patience}))
    ended = threading.Event()
    found: list[tuple[int, dict[str, Any]]] = []

    def hang(*_: object, **__: object) -> None:
        assert ended.wait(30), "nobody noticed"
        raise SystemExit  # the process would be gone

    def end(code: int) -> None:
        found.append((code, stage_step.record))
        ended.set()

    monkeypatch.setattr(stage, "train_stage", hang)
    monkeypatch.setattr(watchdog, "MARGIN_SECONDS", 0.0)
    monkeypatch.setattr(watchdog, "os", SimpleNamespace(_exit=end))
    with pytest.raises(SystemExit):
        stage_step()
    code, record = found[0]
    assert code == watchdog.EXIT_CODE
    place = (
        r"this process has been at .*threading.py line \d+ in wait, from .*stage.py .* for \d s\."
    )
    assert re.search(f"ConnectionLost: {place}$", capfd.readouterr().err, re.M)
    assert record["status"] == "failed"
    assert record["ended_at"]
    error = record["error"]
    assert (error["type"], error["retryable"]) == ("ClusterError", True)
    assert re.search(f"^a process was lost while it trained; rank 0 .*{place}$", error["message"])
