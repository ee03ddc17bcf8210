"""A run: what stands around a stage's updates and is the same for all of them.

A stage writes

    with Run(...) as run:
        for step in run.steps():
            ...                      # one update, ending in run.optimizer.step
            run.record(metrics)
    summary = run.finish()

and gets metrics, progress, EMA, held-out measurements, early stopping, checkpoints, exact resume
and a clean end on SIGTERM and Ctrl-C.

Where several processes train together, all of them run this. All write checkpoints, and only the
main one writes logs.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import torch
from torch import Tensor, nn

from uae.recipe import Recipe, TrainedStage
from uae.training.checkpoint import Checkpoints
from uae.training.distribution import current_world
from uae.training.ema import copy_into
from uae.training.interruption import Interruption
from uae.training.keeper import CheckpointKeeper
from uae.training.optimizer import Optimizer
from uae.training.share import Share
from uae.training.skipped import FILE as SKIPPED_FILE
from uae.training.skipped import Skipped, SkippedUpdates
from uae.training.state import RunState
from uae.training.trackers import Row, Trackers, open_trackers

SET_ASIDE_REWARD = "set_aside/reward"
SKIPPED = "skipped_updates"  # how many there have been


class Run:
    """One stage's training, from its first update to its last."""

    def __init__(
        self,
        stage: str,
        recipe: Recipe,
        trained: Mapping[str, nn.Parameter],
        *,
        inputs: Mapping[str, str],
        measure: Callable[[], dict[str, float]] | None = None,
        extra: Mapping[str, Tensor] | None = None,
        checkpoints: Checkpoints | None = None,
        log_dir: Path | None = None,
        share: Share | None = None,
    ) -> None:
        """Prepare a run, or continue it from its newest checkpoint.

        Args:
            stage: Name of the stage; the recipe has a section of this name.
            recipe: The whole recipe.
            trained: Parameters to train, by names that stay the same from run to run.
            inputs: What else decides the result, such as the data's revision. A checkpoint
                made with other inputs is refused.
            measure: Gives metrics on samples that are not trained on, under the averaged weights
                where there is an EMA. Called before the first update, every so often, and after
                the last. Early stopping needs `set_aside/reward` among them.
            extra: Tensors that updates change, but no gradient.
            checkpoints: Where to keep them; None keeps none.
            log_dir: Where metrics.jsonl, tensorboard/ and skipped.json go; None writes none.
            share: The stage's; None makes one.

        Raises:
            TrainingError: If the newest checkpoint is damaged or belongs to something else, or the
                processes cannot share out a batch, or start from different things.
        """
        self.section: TrainedStage = getattr(recipe, stage)
        self.share = share or Share(stage, self.section, current_world())
        self.state = RunState(stage, recipe, trained, inputs, extra or {})
        self._measure = measure
        self._log_dir = log_dir if self.share.world.is_main else None
        self._keeper = CheckpointKeeper(checkpoints, self.share.world) if checkpoints else None
        self._interruption = Interruption()
        self._started_seconds = 0.0
        self._start_metrics: dict[str, float] = {}
        self._saved_step = 0  # an update that has not begun needs no checkpoint at the start
        newest = self._keeper.latest(self.state.as_shared_out) if self._keeper else None
        if newest is not None:
            self.state.restore(newest)
            self._saved_step = self.next_step
        self.state.require_same(self.share.world)

    @property
    def trained(self) -> Mapping[str, nn.Parameter]:
        """The parameters that are trained, by name."""
        return self.state.trained

    @property
    def optimizer(self) -> Optimizer:
        """What moves them."""
        return self.state.optimizer

    @property
    def skipped(self) -> SkippedUpdates:
        """The updates that were skipped."""
        return self.state.skipped

    @property
    def next_step(self) -> int:
        """Number of the update that is being made, or is next."""
        return self.state.next_step

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        trackers = (
            open_trackers(
                self._log_dir, self.state.stage, self.section.num_updates, self.state.rows
            )
            if self.share.world.is_main
            else Trackers([])
        )
        self._trackers = self._stack.enter_context(trackers)
        self._stack.enter_context(self._interruption)
        if self._log_dir is not None:
            self.skipped.write(self._log_dir)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._keeper is not None:
            self._keeper.close()
        self._stack.__exit__(kind, error, traceback)

    def steps(self) -> Iterator[int]:
        """Yield the number of each update still to be made, until the end or an early stop."""
        if self.next_step == 0 and self.section.num_updates > 0:
            measured = self._measured(0)
            self._start_metrics = {f"start/{name}": value for name, value in measured.items()}
        while self.next_step < self.section.num_updates and not self.stopped_early:
            self._started_seconds = time.perf_counter()
            yield self.next_step

    def skip(self, kind: Literal["loss", "gradient"], samples: Sequence[str]) -> None:
        """Count this update as skipped; all processes come to the same conclusion.

        Args:
            kind: What is not finite.
            samples: Ids of the samples behind it.

        Raises:
            TrainingError: If the recipe allows no more of it. The ids of all are saved before.
        """
        self.skipped.add(Skipped(self.next_step, kind, list(samples)))
        if self.share.world.is_main:
            self.skipped.say()
            if self._log_dir is not None:
                self.skipped.write(self._log_dir)
            if self._keeper is not None:  # logs of a job that fails may be lost
                self._keeper.note(SKIPPED_FILE, self.skipped.values())
        self.skipped.require_few()

    def heed_interruption(self) -> None:
        """Give way to a signal within an update, as long as nothing has moved.

        All processes call it equally often. What was computed of the update is lost: the checkpoint
        is that of the updates before it.

        Raises:
            KeyboardInterrupt: If Ctrl-C came in any process.
            TrainingError: If the checkpoint cannot be written.
            StoreError: If the store refuses it.
        """
        number = self._asked_to_end()
        if not number:
            return
        self.optimizer.clear()
        if self._saved_step != self.next_step:
            self._save(and_wait=True)
        elif self._keeper is not None:
            self._keeper.settle()
        self._give_way(number)

    def record(
        self, metrics: Mapping[str, float], *, num_images: int = 0, num_tokens: int = 0
    ) -> None:
        """End an update: average, measure, write its row, and checkpoint when one is due.

        Raises:
            KeyboardInterrupt: If Ctrl-C came during the update; its checkpoint is written. All
                processes end when one of them is to end.
            TrainingError: If a checkpoint cannot be written.
            StoreError: If the store refuses one.
        """
        world, state = self.share.world, self.state
        row = self._row(metrics, num_images, num_tokens)
        state.next_step += 1
        if state.ema is not None and not self.skipped.has(state.next_step - 1):
            state.ema.update(state.next_step)
        is_last = state.next_step == self.section.num_updates
        if is_last or state.next_step % state.measure_every == 0:
            row |= self._measured(state.next_step)
        row = world.of_main(row)  # its times
        state.rows.append(row)
        self._trackers.write(row)
        # Read once: what gives way has a checkpoint.
        signal_number = self._asked_to_end()
        ends = bool(is_last or self.stopped_early or signal_number)
        if ends or state.next_step % self.section.checkpoint_every == 0:
            self._save(and_wait=ends)
        if signal_number:
            self._give_way(signal_number)

    def finish(self) -> dict[str, float]:
        """Put the best or averaged weights into the model and return the last row's metrics.

        Of an update that was skipped the row has not all; the one before it has the others.
        """
        state, early_stopping = self.state, self.state.early_stopping
        if early_stopping is not None and early_stopping.best:
            copy_into(state.trained, early_stopping.best)
        elif state.ema is not None:
            copy_into(state.trained, state.ema.average)
        made = [row for row in state.rows if not self.skipped.has(int(row["step"]))]
        last = {k: v for row in (made[-1:] + state.rows[-1:]) for k, v in row.items()}
        last.pop("step", None)
        start = {k: v for row in state.rows[:1] for k, v in row.items() if k.startswith("start/")}
        summary = start | last | {"num_updates": float(state.next_step)}
        summary["seconds"] = sum(row["seconds"] for row in state.rows)
        if early_stopping is not None:
            summary["best_update"] = float(early_stopping.best_update)
            if early_stopping.best_reward is not None:  # of the weights that are kept
                summary[SET_ASIDE_REWARD] = early_stopping.best_reward
        return summary

    @property
    def stopped_early(self) -> bool:
        """Whether the reward on samples set aside has stopped rising."""
        found = self.state.early_stopping
        return found is not None and found.should_stop

    def _asked_to_end(self) -> int:
        """Return the number of a signal that has reached any process, 0 if none has."""
        return int(max(self.share.world.exchange(self._interruption.noted or 0)))

    def _give_way(self, signal_number: int) -> None:
        self.share.world.part()
        self._stack.close()
        self._interruption.give_way(signal_number)

    def _row(self, metrics: Mapping[str, float], num_images: int, num_tokens: int) -> Row:
        seconds = time.perf_counter() - self._started_seconds
        row: Row = {"step": self.next_step, **self._start_metrics, **metrics, "seconds": seconds}
        self._start_metrics = {}
        row[SKIPPED] = float(len(self.skipped))
        if num_images:
            row["images_per_second"] = num_images / seconds
        if num_tokens:
            row["tokens_per_second"] = num_tokens / seconds
        return row

    def _measured(self, num_updates_done: int) -> dict[str, float]:
        if self._measure is None:
            return {}
        state = self.state
        with ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            if state.ema is not None:
                stack.enter_context(state.ema.applied())
            # All compute it, and the main numbers count: early stopping must be one decision.
            metrics: dict[str, float] = self.share.world.of_main(self._measure())
            if state.early_stopping is not None:
                reward = metrics[SET_ASIDE_REWARD]
                state.early_stopping.observe(reward, num_updates_done, state.trained)
        return metrics

    def _save(self, *, and_wait: bool) -> None:
        self.state.require_same(self.share.world)
        if self._keeper is None:
            return
        self._keeper.save(self.state.snapshot(), self.next_step)
        self._saved_step = self.next_step
        if and_wait:
            self._keeper.settle()
