"""Pictures as they are stored, 8-bit RGB. Scores are computed on these: files can be rescored."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from uae.errors import EvaluationError

if TYPE_CHECKING:
    from torch import Tensor

Pixels: TypeAlias = NDArray[np.uint8]  # (H, W, 3)
_MORE_THAN_8_BITS = ("I", "F")


def to_pixels(images_BCHW: Tensor) -> list[Pixels]:
    """Round float images in [0, 1] to 8 bit.

    Raises:
        EvaluationError: If a value is not finite: a broken generator must not look like a picture.
    """
    import torch

    if not torch.isfinite(images_BCHW).all():
        bad = (~torch.isfinite(images_BCHW)).flatten(1).any(dim=1).nonzero().flatten().tolist()
        raise EvaluationError(f"generated images {bad} of the batch hold NaN or infinity")
    bytes_BHWC = images_BCHW.clamp(0, 1).mul(255).round().to(torch.uint8).permute(0, 2, 3, 1)
    return list(bytes_BHWC.cpu().numpy())


def to_images(pixels: Sequence[Pixels]) -> Tensor:
    """Return pictures of one size as float images (B, 3, H, W) in [0, 1]."""
    import torch

    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float().div(255)


def write_png(pixels: Pixels, path: Path) -> None:
    """Write a picture, whole or not at all, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    Image.fromarray(pixels).save(partial, format="PNG")
    os.replace(partial, path)


def read_png(path: Path) -> Pixels:
    """Read a picture as 8-bit RGB, upright.

    Raises:
        EvaluationError: If the file is missing, cannot be decoded, is unreasonably large, or has
            more than 8 bits, which would have to be guessed at.
    """
    try:
        with Image.open(path) as image:
            if image.mode in _MORE_THAN_8_BITS or image.mode.startswith("I;16"):
                raise EvaluationError(
                    f"the image {path} has mode {image.mode}, more than 8 bits: convert it to RGB"
                )
            return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise EvaluationError(f"cannot read the image {path}: {error}") from error


def make_grid(crops: Sequence[Pixels]) -> Pixels:
    """Tile four pictures of one size as DPG-Bench does: (0, 1) above (2, 3)."""
    top, bottom = np.hstack(list(crops[:2])), np.hstack(list(crops[2:4]))
    return np.vstack([top, bottom])


def cut_grid(grid: Pixels, *, name: str) -> list[Pixels]:
    """Cut a 2 x 2 grid into its four pictures, row by row.

    Raises:
        EvaluationError: If a side is odd, naming the picture.
    """
    height, width = grid.shape[:2]
    if height % 2 or width % 2:
        raise EvaluationError(f"{name} is {width} x {height} pixels, not a 2 x 2 grid")
    y, x = height // 2, width // 2
    return [grid[:y, :x], grid[:y, x:], grid[y:, :x], grid[y:, x:]]
