"""Every random draw comes from the recipe's seed and the name of what is drawn.

Seeds are derived, not consumed: update 7 draws the same numbers whether or not updates 0 to 6
ran in this process. That is what makes resume exact without saving any generator's state.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derive_seed(seed: int, *names: str | int) -> int:
    """Return a 63-bit seed for one named draw, e.g. `derive_seed(0, "gfu", step, "noise")`."""
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def make_generator(
    seed: int, *names: str | int, device: str | torch.device = "cpu"
) -> torch.Generator:
    """Return a torch generator for one named draw."""
    import torch

    return torch.Generator(device=device).manual_seed(derive_seed(seed, *names))
