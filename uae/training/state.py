"""The state of a run: all that its updates change, and that a checkpoint brings back."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from uae.errors import TrainingError
from uae.recipe import EarlyStoppingRecipe, Recipe, TrainedStage
from uae.training.checkpoint import Snapshot
from uae.training.distribution import World
from uae.training.early_stopping import EarlyStopping
from uae.training.ema import Ema, copy_into
from uae.training.optimizer import Optimizer
from uae.training.skipped import SkippedUpdates
from uae.training.trackers import Row


class RunState:
    """Parameters, optimizer, averages and counts of one stage."""

    def __init__(
        self,
        stage: str,
        recipe: Recipe,
        trained: Mapping[str, nn.Parameter],
        inputs: Mapping[str, str],
        extra: Mapping[str, Tensor],
    ) -> None:
        """Begin before the first update; see `Run` for the arguments."""
        section: TrainedStage = getattr(recipe, stage)
        early_stopping: EarlyStoppingRecipe | None = getattr(section, "early_stopping", None)
        settings = section.optimizer
        self.stage = stage
        self.trained = dict(trained)
        self.optimizer = Optimizer(self.trained, settings, section.num_updates)
        self.ema = (
            Ema(self.trained, settings.ema_decay, settings.ema_every)
            if settings.ema_decay is not None
            else None
        )
        self.early_stopping = EarlyStopping(early_stopping) if early_stopping else None
        self.measure_every = early_stopping.every if early_stopping else section.checkpoint_every
        self.skipped = SkippedUpdates(recipe.faults.max_skipped_updates)
        self.next_step = 0
        self.rows: list[Row] = []
        self._extra = dict(extra)
        self._fingerprint = _fingerprint(stage, recipe, inputs)

    def snapshot(self) -> Snapshot:
        """Return what a checkpoint holds; the tensors are those that training goes on to change."""
        parts: dict[str, Mapping[str, Tensor]] = {
            "parameters": self.trained,
            "optimizer": self.optimizer.tensors(),
            "extra": self._extra,
        }
        values: dict[str, Any] = {
            "stage": self.stage,
            "next_step": self.next_step,
            "fingerprint": self._fingerprint,
            "rows": self.rows,
            "skipped": self.skipped.values(),
        }
        if self.ema is not None:
            parts["ema"] = self.ema.average
        if self.early_stopping is not None:
            parts["best"] = self.early_stopping.best
            values["early_stopping"] = self.early_stopping.values()
        tensors = {f"{part}/{n}": t for part, found in parts.items() for n, t in found.items()}
        return Snapshot(tensors, values)

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from a checkpoint.

        Raises:
            TrainingError: If it was made with something else.
        """
        values = snapshot.values
        if values["fingerprint"] != self._fingerprint:
            raise TrainingError(
                f"the checkpoint after update {values['next_step']} was made by stage "
                f"{values['stage']!r} with another recipe, data set or model: resume with the same "
                "ones, or remove it to start anew"
            )
        copy_into(self.trained, snapshot.part("parameters"))
        copy_into(self._extra, snapshot.part("extra"))
        self.optimizer.load_tensors(snapshot.part("optimizer"))
        if self.ema is not None:
            copy_into(self.ema.average, snapshot.part("ema"))
        if self.early_stopping is not None:
            self.early_stopping.load(values["early_stopping"], snapshot.part("best"))
        self.next_step = int(values["next_step"])
        self.rows = values["rows"]
        self.skipped.load(values["skipped"])

    def as_shared_out(self, key: str) -> Tensor | None:
        """Return the parameter as which a checkpoint's tensor is shared out, if it is one's."""
        part, _, name = key.partition("/")
        if part == "optimizer":
            what, _, name = name.partition("/")
            if what == "step":
                return None
        return None if part == "extra" else self.trained.get(name)

    def require_same(self, world: World) -> None:
        """Check that the processes train the same thing and have come equally far with it.

        Raises:
            TrainingError: If they have not.
        """
        if world.size == 1:
            return
        whole = [p for p in self.trained.values() if not isinstance(p, DTensor)]
        world.require_same(
            {
                "stage, recipe, data set or model": self._fingerprint,
                "number of updates done": self.next_step,
                "trained weights": _sums_of_bits(whole),
            },
            advice="start all with the same inputs, checkpoints and versions of the packages",
        )


def _sums_of_bits(tensors: Iterable[Tensor]) -> int:
    """Return a number that differs when a bit does: integers add up the same in any order."""
    bits = [t.detach().float().flatten().view(torch.int32) for t in tensors]
    return sum(int(each.sum(dtype=torch.int64)) for each in bits)


# What changes no number: weights are known by their content, and a cache only by its speed.
_PLACES = {"base", "manifest", "accepted_licences"}
_PACE = {"cache_gib", "num_workers", "num_ahead"}


def _fingerprint(stage: str, recipe: Recipe, inputs: Mapping[str, str]) -> str:
    decisive = {
        "stage": stage,
        "seed": recipe.seed,
        "models": recipe.models.model_dump(mode="json", exclude=_PLACES),
        "data": recipe.data.model_dump(mode="json", exclude={"streaming": _PACE}),
        "section": getattr(recipe, stage).model_dump(mode="json"),
        "inputs": dict(inputs),
    }
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
