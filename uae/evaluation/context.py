"""What every benchmark is given besides its own settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from uae.evaluation.journal import WHOLE, Shard
from uae.recipe import JudgingRecipe

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Context:
    """Where things are, and what all benchmarks of an evaluation have in common."""

    seed: int
    judging: JudgingRecipe  # batch size, resamples, least accuracy of the self-test
    weights: Path  # folder in which names of detectors, scorers and judges are looked up
    data: Path  # data set: validated (heldout/, benchmark/) or plain
    device: torch.device
    endpoint: str | None = None  # of the S3 store that s3:// sources are in
    shard: Shard = WHOLE
    show_progress: bool = True
