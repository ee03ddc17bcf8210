import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import linear_run
import pytest
import torch
from linear_run import make_recipe, train_linear

from uae.errors import TrainingError
from uae.recipe import Recipe
from uae.training.checkpoint import LocalCheckpoints
from uae.training.distribution import World
from uae.training.keeper import CheckpointKeeper, newest_checkpoint

VARIANTS = {
    "plain": {"ema_decay": None},
    "ema": {"ema_decay": 0.5, "ema_every": 2},
    "cosine": {"schedule": "cosine"},
}


class PowerCut(Exception):
    pass


def rows_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("last_update", [0, 2, 4, 7])
def test_killed_and_resumed_is_uninterrupted_to_the_bit(tmp_path, variant, last_update):
    recipe = make_recipe(**VARIANTS[variant])
    whole, _, seen = train_linear(recipe, log_dir=tmp_path / "whole")

    def cut(step):
        if step == last_update:
            raise PowerCut

    folder = tmp_path / "checkpoints"
    with pytest.raises(PowerCut):
        train_linear(
            recipe, checkpoints=LocalCheckpoints(folder), log_dir=tmp_path / "log", after_update=cut
        )
    resumed, _, seen_again = train_linear(
        recipe, checkpoints=LocalCheckpoints(folder), log_dir=tmp_path / "log"
    )
    assert same(whole, resumed)
    first = 3 * (last_update // 3)  # a checkpoint every 3 updates
    assert seen_again == seen[first:]
    assert [row["step"] for row in rows_of(tmp_path / "log")] == list(range(8))
    losses = [row["loss"] for row in rows_of(tmp_path / "whole")]
    assert [row["loss"] for row in rows_of(tmp_path / "log")] == losses


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_leaves_a_checkpoint_of_the_update_it_came_in(tmp_path, recipe, number):
    class Terminated(BaseException):
        pass

    def terminate(_signum, _frame):
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        checkpoints = LocalCheckpoints(tmp_path / "checkpoints")
        with pytest.raises((KeyboardInterrupt, Terminated)):
            train_linear(
                recipe,
                checkpoints=checkpoints,
                log_dir=tmp_path / "log",
                after_update=lambda step: os.kill(os.getpid(), number) if step == 4 else None,
            )
        assert signal.getsignal(signal.SIGTERM) is terminate
    finally:
        signal.signal(signal.SIGTERM, before)
    assert newest_checkpoint(checkpoints.area) == "update-00000005"
    assert len(rows_of(tmp_path / "log")) == 5
    resumed, summary, seen = train_linear(recipe, checkpoints=checkpoints, log_dir=tmp_path / "log")
    assert len(seen) == 3
    assert summary["num_updates"] == 8
    assert same(resumed, train_linear(recipe)[0])
    assert [row["step"] for row in rows_of(tmp_path / "log")] == list(range(8))


def test_a_finished_run_resumes_to_its_end_without_an_update(tmp_path, recipe):
    checkpoints = LocalCheckpoints(tmp_path)
    whole, summary, _ = train_linear(recipe, checkpoints=checkpoints)
    again, summary_again, seen = train_linear(recipe, checkpoints=checkpoints)
    assert seen == []
    assert same(whole, again)
    assert summary_again == summary


def test_checkpoint_of_another_recipe_or_data_is_refused(tmp_path, recipe):
    train_linear(recipe, checkpoints=LocalCheckpoints(tmp_path))
    with pytest.raises(TrainingError, match="another recipe"):
        train_linear(make_recipe(learning_rate=0.1), checkpoints=LocalCheckpoints(tmp_path))
    with pytest.raises(TrainingError, match="another recipe"):
        train_linear(recipe, checkpoints=LocalCheckpoints(tmp_path), inputs={"data": "other"})


def test_early_stopping_keeps_the_best_weights_across_a_resume(tmp_path):
    recipe = make_recipe(
        num_updates=20, early_stopping={"every": 2, "patience": 2, "num_samples": 1}
    )
    rewards = [0.1, 0.3, 0.5, 0.4, 0.2, 0.9]  # at updates 0, 2, 4, 6, 8: two without a best

    def run_once(count, **options):
        # the measurement depends on the number of updates only, so a resume repeats it
        return train_linear(recipe, measure=lambda: {"set_aside/reward": next(count)}, **options)

    whole, summary, seen = run_once(iter(rewards), log_dir=tmp_path / "log")
    assert len(seen) == 8
    assert summary["best_update"] == 4
    assert summary["set_aside/reward"] == 0.5
    assert summary["start/set_aside/reward"] == pytest.approx(0.1)
    short = make_recipe(num_updates=20, early_stopping=None)
    kept = train_linear_until(short, 4, tmp_path / "short")
    assert same(whole, kept)

    folder = tmp_path / "checkpoints"

    def cut(step):
        if step == 6:
            raise PowerCut

    with pytest.raises(PowerCut):
        run_once(iter(rewards), checkpoints=LocalCheckpoints(folder), after_update=cut)
    resumed, summary, _ = run_once(iter(rewards[4:]), checkpoints=LocalCheckpoints(folder))
    assert same(whole, resumed)
    assert summary["best_update"] == 4
    assert summary["set_aside/reward"] == 0.5


def train_linear_until(recipe, num_updates, folder):
    """Weights after the first updates of a longer run (without EMA, as in the recipe)."""

    class Enough(Exception):
        pass

    def stop(step):
        if step == num_updates:
            raise Enough

    values = recipe.model_dump()
    values["generation_for_understanding"]["checkpoint_every"] = num_updates
    checkpoints = LocalCheckpoints(folder)
    with pytest.raises(Enough):
        train_linear(Recipe.model_validate(values), checkpoints=checkpoints, after_update=stop)
    return CheckpointKeeper(checkpoints, World()).latest(lambda _: None).part("parameters")


def test_no_updates_leave_the_model_alone(tmp_path):
    weights, summary, seen = train_linear(make_recipe(num_updates=0), log_dir=tmp_path)
    assert seen == []
    assert summary["num_updates"] == 0
    assert rows_of(tmp_path) == []
    torch.manual_seed(0)
    assert same(weights, torch.nn.Linear(3, 1).state_dict())


def test_a_kill_between_row_and_checkpoint_doubles_and_loses_no_row(tmp_path, recipe, monkeypatch):
    checkpoints, save = LocalCheckpoints(tmp_path / "checkpoints"), CheckpointKeeper.save

    def cut(keeper, snapshot, step):
        if step == 6:
            raise PowerCut
        save(keeper, snapshot, step)

    monkeypatch.setattr(CheckpointKeeper, "save", cut)
    with pytest.raises(PowerCut):
        train_linear(recipe, checkpoints=checkpoints, log_dir=tmp_path)
    monkeypatch.undo()
    assert [row["step"] for row in rows_of(tmp_path)] == list(range(6))
    train_linear(recipe, checkpoints=checkpoints, log_dir=tmp_path)
    assert [row["step"] for row in rows_of(tmp_path)] == list(range(8))


def test_tensorboard_holds_every_update_once_after_a_resume(tmp_path, recipe):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def cut(step):
        if step == 4:
            raise PowerCut

    checkpoints = LocalCheckpoints(tmp_path / "checkpoints")
    with pytest.raises(PowerCut):
        train_linear(recipe, checkpoints=checkpoints, log_dir=tmp_path, after_update=cut)
    train_linear(recipe, checkpoints=checkpoints, log_dir=tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("loss")] == list(range(8))


def test_kill_9_at_any_moment_leaves_a_whole_checkpoint(tmp_path):
    program = """
import sys, os, signal, time
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from linear_run import make_recipe, train_linear
from uae.training.checkpoint import LocalCheckpoints
from uae.training.keeper import newest_checkpoint
checkpoints = LocalCheckpoints(Path(sys.argv[1]))
def kill(step):
    if step == 5:
        while newest_checkpoint(checkpoints.area) is None: time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
train_linear(make_recipe(), checkpoints=checkpoints, after_update=kill)
"""
    here = str(Path(linear_run.__file__).parent)
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path), here], check=False)
    assert done.returncode == -signal.SIGKILL
    resumed, _, seen = train_linear(make_recipe(), checkpoints=LocalCheckpoints(tmp_path))
    assert len(seen) == 5
    assert same(resumed, train_linear(make_recipe())[0])
