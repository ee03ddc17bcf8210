"""What every benchmark is given besides its own settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    retry_failures: bool = False  # do samples without a verdict again
    show_progress: bool = True

    @property
    def deciding(self) -> dict[str, Any]:
        """What decides results beside a benchmark's own settings; part of every evaluation's key.

        Numbers of a CPU depend on its number of threads in the last bits, and another device's
        altogether.
        """
        import torch

        judging = self.judging
        on_cpu = self.device.type == "cpu"
        return {
            "seed": self.seed,
            "batch_size": judging.batch_size,
            "bootstrap_resamples": judging.bootstrap_resamples,
            "min_self_test_accuracy": judging.min_self_test_accuracy,
            "device": self.device.type,
            **({"num_threads": torch.get_num_threads()} if on_cpu else {}),
        }
