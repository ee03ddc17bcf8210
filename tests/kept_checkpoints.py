"""Checkpoints of a run that needs no training."""

from pathlib import Path
from typing import NamedTuple

import torch

from uae.training.areas import Area
from uae.training.checkpoint import Snapshot
from uae.training.distribution import World
from uae.training.keeper import CheckpointKeeper


class Place(NamedTuple):
    """Checkpoints in an area of a test's own."""

    area: Area
    scratch: Path


def keeper_of(area, folder, world=None):
    """Open an area."""
    return CheckpointKeeper(Place(area, folder), world or World())


def whole(_key):
    """Want all of a tensor."""
    return


def snapshot(step):
    """What a run of two tensors holds after so many updates."""
    tensors = {"parameters/w": torch.full((2, 3), float(step)), "optimizer/step/w": torch.tensor(7)}
    return Snapshot(tensors, {"next_step": step, "rows": [{"step": step - 1}]})


def save(checkpoints, step):
    """Save it and wait."""
    checkpoints.save(snapshot(step), step)
    checkpoints.settle()


def folders(area):
    """Return the updates that have files."""
    return {name.partition("/")[0] for name in area.names()} - {"opened"}


def file_of(area, pattern):
    """Return the one file of a folder that a pattern names."""
    (found,) = area._folder.glob(pattern)
    return found
