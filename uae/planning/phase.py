"""A part of an update or of a stage's start, and the process whose part it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from uae.planning.execution import Execution
from uae.planning.trace import Cost
from uae.planning.works import Works
from uae.recipe import Recipe
from uae.training.share import Share

TRAIN = "train"
FLOAT = 4  # bytes: rollouts, caches and what is trained are float32


@dataclass(frozen=True)
class Phase:
    """A part of an update, or of a stage's start."""

    name: str
    cost: Cost
    held: Mapping[str, int] = field(default_factory=dict)  # other memory, by part
    bytes_read: int = 0  # where reading weights bounds the time, not computing
    encoder_passes: int = 0  # in which a shared-out model's weights are gathered block by block
    decoder_passes: int = 0
    is_whole: bool = False  # shared-out models are gathered as a whole meanwhile
    num_gatherings: int = 0  # how often they are, anew

    @property
    def flops(self) -> int:
        """Operations, of all types."""
        return self.cost.flops

    @property
    def peak_bytes(self) -> int:
        """Memory on top of what the stage holds all the time, gathered models aside."""
        return self.cost.peak_bytes + sum(self.held.values())


@dataclass(frozen=True)
class Load:
    """One process's part of a stage's updates."""

    recipe: Recipe
    share: Share
    works: Works
    execution: Execution
    caption_tokens: int | None  # mean length where it is known; None: every caption is the longest

    @property
    def num_pictures(self) -> int:
        """P: samples of an update that are this process's."""
        return len(self.share.places)

    @property
    def part_size(self) -> int:
        """Samples of one backward pass."""
        rows = self.share.minibatches[0][0].rows
        return int(rows.stop - rows.start)

    @property
    def num_passes(self) -> int:
        """Backward passes of an update."""
        return self.num_pictures // self.part_size

    @property
    def is_streamed(self) -> bool:
        """Whether what frozen models give is computed for an update's samples when it comes."""
        return self.execution.caches == "streamed"

    def mean_tokens(self, longest: int) -> int:
        """Return how long captions are on average."""
        return min(self.caption_tokens or longest, longest)
