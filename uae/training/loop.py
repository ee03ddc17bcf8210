"""A run: what stands around a stage's updates and is the same for all of them.

A stage writes

    with Run(...) as run:
        for step in run.steps():
            ...                      # one update, ending in run.optimizer.step
            run.record(metrics)
    summary = run.finish()

and gets metrics, progress, EMA, held-out measurements, early stopping, checkpoints, exact resume
and a clean end on SIGTERM and Ctrl-C.

Where several processes train together, all of them run this, and only the main one writes.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from uae.errors import TrainingError
from uae.recipe import EarlyStoppingRecipe, Recipe, TrainedStage
from uae.training.checkpoint import FORMAT, Checkpoints, Snapshot, load_snapshot, save_snapshot
from uae.training.distribution import current_world
from uae.training.early_stopping import EarlyStopping
from uae.training.ema import Ema, copy_into
from uae.training.interruption import Interruption
from uae.training.optimizer import Optimizer
from uae.training.sharded_checkpoint import ShardedCheckpoints
from uae.training.share import Share
from uae.training.trackers import Row, Trackers, open_trackers

SET_ASIDE_REWARD = "set_aside/reward"


class Run:
    """The state of one stage's training, from its first update to its last."""

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
            log_dir: Where metrics.jsonl and tensorboard/ go; None writes neither.
            share: The stage's; None makes one.

        Raises:
            TrainingError: If the newest checkpoint is damaged or belongs to something else, or the
                processes cannot share out a batch, or start from different things.
        """
        section: TrainedStage = getattr(recipe, stage)
        early_stopping: EarlyStoppingRecipe | None = getattr(section, "early_stopping", None)
        settings = section.optimizer
        self.stage, self.section = stage, section
        self.share = share or Share(stage, section, current_world())
        self.trained = dict(trained)
        self.optimizer = Optimizer(self.trained, settings, section.num_updates)
        self.next_step = 0
        self.rows: list[Row] = []
        self._extra = dict(extra or {})
        self._measure = measure
        self._measure_every = early_stopping.every if early_stopping else section.checkpoint_every
        self._early_stopping = EarlyStopping(early_stopping) if early_stopping else None
        self._ema = (
            Ema(self.trained, settings.ema_decay, settings.ema_every)
            if settings.ema_decay is not None
            else None
        )
        self._checkpoints = checkpoints
        self._pieces = (
            ShardedCheckpoints(checkpoints.area, checkpoints.scratch, self.share.world)
            if checkpoints is not None and recipe.models.sharding != "replicated"
            else None
        )
        self._log_dir = log_dir
        self._fingerprint = _fingerprint(stage, recipe, inputs)
        self._started_seconds = 0.0
        self._start_metrics: dict[str, float] = {}
        self._resume()
        self._require_same_state()

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        trackers = (
            open_trackers(self._log_dir, self.stage, self.section.num_updates, self.rows)
            if self.share.world.is_main
            else Trackers([])
        )
        self._trackers = self._stack.enter_context(trackers)
        self._interruption = self._stack.enter_context(Interruption())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._pieces is not None:
            self._pieces.close()
        self._stack.__exit__(kind, error, traceback)

    def steps(self) -> Iterator[int]:
        """Yield the number of each update still to be made, until the end or an early stop."""
        if self.next_step == 0 and self.section.num_updates > 0:
            measured = self._measured(0)
            self._start_metrics = {f"start/{name}": value for name, value in measured.items()}
        while self.next_step < self.section.num_updates and not self.stopped_early:
            self._started_seconds = time.perf_counter()
            yield self.next_step

    def record(
        self, metrics: Mapping[str, float], *, num_images: int = 0, num_tokens: int = 0
    ) -> None:
        """End an update: average, measure, write its row, and checkpoint when one is due.

        Raises:
            KeyboardInterrupt: If Ctrl-C came during the update; its checkpoint is written. All
                processes end when one of them is to end.
            TrainingError: If the checkpoint cannot be written.
        """
        world = self.share.world
        seconds = time.perf_counter() - self._started_seconds
        row: Row = {"step": self.next_step, **self._start_metrics, **metrics, "seconds": seconds}
        self._start_metrics = {}
        if num_images:
            row["images_per_second"] = num_images / seconds
        if num_tokens:
            row["tokens_per_second"] = num_tokens / seconds
        self.next_step += 1
        if self._ema is not None:
            self._ema.update(self.next_step)
        is_last = self.next_step == self.section.num_updates
        if is_last or self.next_step % self._measure_every == 0:
            row |= self._measured(self.next_step)
        row = world.of_main(row)  # its times
        self.rows.append(row)
        self._trackers.write(row)
        # Read once: what gives way has a checkpoint.
        signal_number = max(world.exchange(self._interruption.noted or 0))
        ends = is_last or self.stopped_early or signal_number
        if ends or self.next_step % self.section.checkpoint_every == 0:
            self._save()
        if ends and self._pieces is not None:
            self._pieces.settle()
        if signal_number:
            world.part()  # when the main process has written the checkpoint
            self._stack.close()
            self._interruption.give_way(signal_number)

    def finish(self) -> dict[str, float]:
        """Put the best or averaged weights into the model and return the last row's metrics."""
        if self._early_stopping is not None and self._early_stopping.best:
            copy_into(self.trained, self._early_stopping.best)
        elif self._ema is not None:
            copy_into(self.trained, self._ema.average)
        last = {k: v for k, v in self.rows[-1].items() if k != "step"} if self.rows else {}
        start = {k: v for row in self.rows[:1] for k, v in row.items() if k.startswith("start/")}
        summary = start | last | {"num_updates": float(self.next_step)}
        summary["seconds"] = sum(row["seconds"] for row in self.rows)
        if self._early_stopping is not None:
            summary["best_update"] = float(self._early_stopping.best_update)
            if self._early_stopping.best_reward is not None:  # of the weights that are kept
                summary[SET_ASIDE_REWARD] = self._early_stopping.best_reward
        return summary

    @property
    def stopped_early(self) -> bool:
        """Whether the reward on samples set aside has stopped rising."""
        return self._early_stopping is not None and self._early_stopping.should_stop

    def _measured(self, num_updates_done: int) -> dict[str, float]:
        if self._measure is None:
            return {}
        with ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            if self._ema is not None:
                stack.enter_context(self._ema.applied())
            # All compute it, and the main numbers count: early stopping must be one decision.
            metrics: dict[str, float] = self.share.world.of_main(self._measure())
            if self._early_stopping is not None:
                reward = metrics[SET_ASIDE_REWARD]
                self._early_stopping.observe(reward, num_updates_done, self.trained)
        return metrics

    def _save(self) -> None:
        self._require_same_state()
        if self._pieces is not None:
            self._pieces.save(self._snapshot(), self.next_step)
        elif self._checkpoints is not None and self.share.world.is_main:
            save_snapshot(self._snapshot(), self._checkpoints, self.next_step)

    def _snapshot(self) -> Snapshot:
        parts: dict[str, Mapping[str, Tensor]] = {
            "parameters": self.trained,
            "optimizer": self.optimizer.tensors(),
            "extra": self._extra,
        }
        values: dict[str, Any] = {
            "format": FORMAT,
            "stage": self.stage,
            "next_step": self.next_step,
            "fingerprint": self._fingerprint,
            "rows": self.rows,
        }
        if self._ema is not None:
            parts["ema"] = self._ema.average
        if self._early_stopping is not None:
            parts["best"] = self._early_stopping.best
            values["early_stopping"] = self._early_stopping.values()
        tensors = {f"{part}/{n}": t for part, found in parts.items() for n, t in found.items()}
        return Snapshot(tensors, values)

    def _require_same_state(self) -> None:
        """Check that the processes train the same thing and have come equally far with it."""
        if self.share.world.size == 1:
            return
        whole = [p for p in self.trained.values() if not isinstance(p, DTensor)]
        self.share.world.require_same(
            {
                "stage, recipe, data set or model": self._fingerprint,
                "number of updates done": self.next_step,
                "trained weights": _sums_of_bits(whole),
            },
            advice="start all with the same inputs, checkpoints and versions of the packages",
        )

    def _resume(self) -> None:
        snapshot = self._newest()
        if snapshot is None:
            return
        if snapshot.values["fingerprint"] != self._fingerprint:
            raise TrainingError(
                f"the checkpoint after update {snapshot.values['next_step']} was made by stage "
                f"{snapshot.values['stage']!r} with another recipe, data set or model: resume with "
                "the same ones, or remove it to start anew"
            )
        copy_into(self.trained, snapshot.part("parameters"))
        copy_into(self._extra, snapshot.part("extra"))
        self.optimizer.load_tensors(snapshot.part("optimizer"))
        if self._ema is not None:
            copy_into(self._ema.average, snapshot.part("ema"))
        if self._early_stopping is not None:
            self._early_stopping.load(snapshot.values["early_stopping"], snapshot.part("best"))
        self.next_step = int(snapshot.values["next_step"])
        self.rows = snapshot.values["rows"]

    def _newest(self) -> Snapshot | None:
        if self._pieces is not None:
            return self._pieces.latest(self._as_shared_out)
        folder = self._checkpoints.latest() if self._checkpoints else None
        return load_snapshot(folder) if folder else None

    def _as_shared_out(self, key: str) -> Tensor | None:
        """Return the parameter as which a checkpoint's tensor is shared out, if it is one's."""
        part, _, name = key.partition("/")
        if part == "optimizer":
            what, _, name = name.partition("/")
            if what == "step":
                return None
        return None if part == "extra" else self.trained.get(name)


def _sums_of_bits(tensors: Iterable[Tensor]) -> int:
    """Return a number that differs when a bit does: integers add up the same in any order."""
    bits = [t.detach().float().flatten().view(torch.int32) for t in tensors]
    return sum(int(each.sum(dtype=torch.int64)) for each in bits)


def _fingerprint(stage: str, recipe: Recipe, inputs: Mapping[str, str]) -> str:
    decisive = {
        "stage": stage,
        "seed": recipe.seed,
        "models": recipe.models.model_dump(mode="json"),
        "data": recipe.data.model_dump(mode="json"),
        "section": getattr(recipe, stage).model_dump(mode="json"),
        "inputs": dict(inputs),
    }
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
