"""The pieces of the experiment: trained stages and benchmarks, each made once and kept.

A piece's folder is named by a hash of everything that decides its content: arms share a piece when
they agree up to there, and a second call finds it. A training that was killed goes on from its last
checkpoint. The library's own code is not in the hash; it is recorded, and the table says so when
pieces were made by different code.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import uae
from benchmarks.effect.arms import ARMS, STAGE_1, Point, recipe_for
from benchmarks.effect.scenes import Scenes
from uae.evaluation.of_run import evaluate
from uae.fingerprints import json_sha256
from uae.launch.lock import run_lock
from uae.models.bundle import bundle_sha, resolve_base, weights_root
from uae.recipe import Recipe
from uae.training.checkpoint import LocalCheckpoints

FORMAT = 1
BENCH = "unified_bench"
RECORD = "piece.json"
_NOT_DECISIVE = {  # of the recipe's evaluation: they concern other benchmarks or the intervals
    "bootstrap_resamples", "geneval", "dpg_bench", "min_self_test_accuracy",
}  # fmt: skip
_CODE = (
    "data", "evaluation", "flow_matching", "models", "objectives", "rewards", "rollouts", "stages",
    "training",
)  # fmt: skip


@dataclass(frozen=True)
class Piece:
    """One stage's training, or one benchmark of its model."""

    kind: str  # a stage's name, or BENCH
    label: str
    recipe: Recipe
    given: Mapping[str, str]  # identities of data and weights
    before: "Piece | None"  # whose model it starts from or judges; None is the base

    @property
    def is_bench(self) -> bool:
        return self.kind == BENCH

    @cached_property
    def decisive(self) -> dict[str, Any]:
        """Everything that decides the content, as JSON."""
        section = (
            self.recipe.evaluation.model_dump(mode="json", exclude=_NOT_DECISIVE)
            if self.is_bench
            else getattr(self.recipe, self.kind).model_dump(mode="json")
        )
        return {
            "kind": self.kind,
            "seed": self.recipe.seed,
            "models": self.recipe.models.model_dump(mode="json", exclude={"base"}),
            "data": self.recipe.data.model_dump(mode="json"),
            "section": section,
            "num_set_aside": 0 if self.is_bench else self.recipe.num_set_aside,
            "given": dict(self.given),
            "before": self.before.name if self.before else None,
        }

    @cached_property
    def name(self) -> str:
        """Folder name: the kind and the hash of what is decisive."""
        return f"{self.kind}-{json_sha256(self.decisive)[:16]}"


@dataclass(frozen=True)
class Plan:
    """All pieces in an order in which they can be made, and which of them judges which point."""

    pieces: dict[str, Piece]
    benches: dict[tuple[int, Point], Piece]


def make_plan(recipe: Recipe, scenes: Scenes, seeds: Iterable[int], arms: Iterable[str]) -> Plan:
    """Lay out every piece that the arms need; what they share stands once."""
    base = recipe.models.base
    scorers = weights_root(base) / "scorers"
    given = {
        "data": scenes.key,
        "base": bundle_sha(resolve_base(base)),
        "scorers": bundle_sha(scorers) if scorers.is_dir() else "",
    }
    arms = list(arms)
    plan = Plan({}, {})
    for seed in seeds:
        for arm in arms:
            settled, before = recipe_for(recipe, arm, seed), None
            for stage in ARMS[arm].stages:
                label = f"seed {seed}, {arm}: {stage}"
                trained = Piece(stage, label, settled, given, before)
                before = plan.pieces.setdefault(trained.name, trained)
                bench = Piece(BENCH, f"{label}, judged", settled, given, before)
                plan.benches[seed, Point(arm, stage)] = plan.pieces.setdefault(bench.name, bench)
    return plan


def read_record(folder: Path) -> dict[str, Any] | None:
    """Return a finished piece's record, or None."""
    path = folder / RECORD
    if not path.is_file():
        return None
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record if record["format"] == FORMAT else None


def make(piece: Piece, root: Path, scenes: Scenes) -> None:
    """Make a piece, or finish one that was begun; do nothing if it is there.

    Raises:
        RunError: If another process is making it.
        UaeError: If a stage or a benchmark refuses its input.
    """
    folder = root / piece.name
    with run_lock(folder):
        if read_record(folder):
            return
        start = time.perf_counter()
        before = root / piece.before.name / "model" if piece.before else None
        model = before or resolve_base(piece.recipe.models.base)
        summary = (
            _judge(piece, model, scenes, folder)
            if piece.is_bench
            else _train(piece, model, scenes, folder)
        )
        # A training that was continued counts the updates of all its attempts.
        seconds = max(time.perf_counter() - start, summary.get("seconds", 0.0))
        _write_record(folder, piece, seconds, summary)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def _train(piece: Piece, model: Path, scenes: Scenes, folder: Path) -> dict[str, float]:
    stage = import_module(f"uae.stages.{piece.kind}")
    summary: dict[str, float] = stage.train(
        piece.recipe,
        scenes.folder,
        model,
        folder / "model",
        checkpoints=LocalCheckpoints(folder / "checkpoints"),
        log_dir=folder / "log",
    )
    return summary


def _judge(piece: Piece, model: Path, scenes: Scenes, folder: Path) -> dict[str, float]:
    result = evaluate("unified_bench", piece.recipe, scenes.folder, model, folder)
    if result.score is None:
        raise RuntimeError(f"{piece.label}: not every picture has a score: {result.states}")
    return {"overall": result.score}


def _write_record(folder: Path, piece: Piece, seconds: float, summary: dict[str, float]) -> None:
    record = {
        "format": FORMAT,
        "label": piece.label,
        "decisive": piece.decisive,
        "code": code_sha(),
        "seconds": seconds,
        "summary": summary,
    }
    partial = folder / f".{RECORD}"
    partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    partial.replace(folder / RECORD)


def code_sha() -> str:
    """Return one hash over the modules that decide a piece's numbers."""
    package = Path(uae.__file__).parent
    total = hashlib.sha256()
    for path in sorted(path for name in _CODE for path in (package / name).rglob("*.py")):
        total.update(path.read_bytes())
    return total.hexdigest()


# Seconds for an update, and for a judged scene: a guess for one thread on each of two cores and the
# starter recipe, until the first pieces are finished and their own times serve.
_SECONDS = {
    STAGE_1: 1.2,
    "cold_start": 1.3,
    "generation_for_understanding": 3.0,
    "understanding_for_generation": 9.0,
    BENCH: 0.12,
}
_START_SECONDS = 5.0


def estimate_seconds(piece: Piece, finished: Mapping[str, dict[str, Any]]) -> float:
    """Return how long a piece will take: as long as its like, where one is finished."""
    like = [
        record["seconds"]
        for record in finished.values()
        if record["decisive"]["kind"] == piece.kind
        and record["decisive"]["section"] == piece.decisive["section"]
    ]
    if like:
        return sum(like) / len(like)
    section = piece.decisive["section"]
    is_bench = piece.kind == BENCH
    count = section["unified_bench"]["num_samples"] if is_bench else section["num_updates"]
    return float(_START_SECONDS + _SECONDS[piece.kind] * count)
