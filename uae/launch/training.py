"""Training one stage from local paths, wherever that is: a step's process, or a worker's."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uae.store.s3 import Store

OUTPUTS = ("model", "logs", "curves")


@dataclass(frozen=True)
class StagePaths:
    """Where a stage finds its inputs and leaves its outputs."""

    data: Path
    model_in: Path | None  # None starts from the recipe's base weights
    model: Path
    logs: Path
    curves: Path

    @property
    def outputs(self) -> dict[str, Path]:
        """Return the outputs by name."""
        return {name: getattr(self, name) for name in OUTPUTS}


def train_stage(
    stage: str,
    recipe: str,
    paths: StagePaths,
    store: Store,
    checkpoints: str,
    *,
    is_main: bool = True,
    imports: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Mapping[str, Any]:
    """Train one stage and leave its model, logs and curves; return its summary.

    Args:
        stage: Stage and recipe section: they share one name.
        recipe: The settled recipe as YAML text.
        paths: Inputs and outputs.
        store: Where checkpoints go while the stage trains, and that has shards that are streamed.
        checkpoints: Their key prefix. Training goes on from the newest one.
        is_main: Whether this process, of those that train together, draws the curves.
        imports: Opens a context around the imports, which take seconds.

    Raises:
        UaeError: If the stage refuses its input or one of its invariants does not hold.
    """
    with imports():
        from uae.models.bundle import resolve_base
        from uae.recipe_files import parse_recipe
        from uae.report.step_html import curves_html
        from uae.training.checkpoint import StoreCheckpoints
        from uae.weights.fetching import fetch_for_stage

        module = import_module(f"uae.stages.{stage}")
    settled = parse_recipe(recipe)
    fetch_for_stage(settled, stage, store, starts_from_base=paths.model_in is None)
    start = paths.model_in or resolve_base(settled.models.base, settled.models.manifest)
    with tempfile.TemporaryDirectory() as scratch:
        kept = StoreCheckpoints(store, checkpoints, Path(scratch))
        summary: Mapping[str, Any] = module.train(
            settled,
            paths.data,
            start,
            paths.model,
            checkpoints=kept,
            log_dir=paths.logs,
            store=store,
        )
    if is_main:
        page = curves_html(paths.logs / "metrics.jsonl", title=stage)
        paths.curves.write_text(page, encoding="utf-8")
    return summary
