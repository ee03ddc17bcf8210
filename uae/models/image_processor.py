"""Pictures to Qwen2.5-VL's flat patches, for a whole batch of tensors at once.

Same numbers as transformers' Qwen2VLImageProcessor for pictures that need no resizing; resized
ones differ by the rounding to 8 bits, which is left out here. (Importing the original costs two
seconds, and it works picture by picture.)
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from uae.errors import ModelError
from uae.models.bundle import read_json, write_json

FILE_NAME = "preprocessor_config.json"


@dataclass(frozen=True)
class ImageProcessor:
    """How pictures are resized, normalised and cut; the fields that transformers' class has."""

    patch_size: int
    temporal_patch_size: int
    merge_size: int
    min_pixels: int
    max_pixels: int
    image_mean: tuple[float, float, float]
    image_std: tuple[float, float, float]

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Return the rows and columns of patches that a picture of this size is cut into.

        Sides become multiples of patch_size x merge_size, and the area stays within the limits.

        Raises:
            ModelError: If one side is more than 200 times the other.
        """
        if max(height, width) > 200 * min(height, width):
            raise ModelError(f"a picture of {width} x {height} pixels is too narrow to be encoded")
        factor = self.patch_size * self.merge_size
        rows, columns = round(height / factor) * factor, round(width / factor) * factor
        if rows * columns > self.max_pixels:
            shrink = math.sqrt(height * width / self.max_pixels)
            rows = max(factor, math.floor(height / shrink / factor) * factor)
            columns = max(factor, math.floor(width / shrink / factor) * factor)
        elif rows * columns < self.min_pixels:
            grow = math.sqrt(self.min_pixels / (height * width))
            rows = math.ceil(height * grow / factor) * factor
            columns = math.ceil(width * grow / factor) * factor
        return rows // self.patch_size, columns // self.patch_size

    def patches(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Cut pictures into patches in the order that the vision tower merges them in.

        Args:
            images_BCHW: RGB in [0, 1].

        Returns:
            Patches (B * rows * columns, 3 * temporal_patch_size * patch_size ** 2), and the grid
            (B, 3) of frames, rows and columns, int64.
        """
        batch, channels, height, width = images_BCHW.shape
        rows, columns = self.grid(height, width)
        side, merge = self.patch_size, self.merge_size
        size = (rows * side, columns * side)
        images = images_BCHW.float()
        if (height, width) != size:
            images = torch.nn.functional.interpolate(
                images, size=size, mode="bicubic", antialias=True
            ).clamp(0, 1)
        mean = images.new_tensor(self.image_mean)[:, None, None]
        std = images.new_tensor(self.image_std)[:, None, None]
        cut = ((images - mean) / std).reshape(
            batch, channels, rows // merge, merge, side, columns // merge, merge, side
        )
        flat = cut.permute(0, 2, 5, 3, 6, 1, 4, 7).unsqueeze(6)  # one frame, repeated in time
        flat = flat.expand(*flat.shape[:6], self.temporal_patch_size, side, side)
        grid = torch.tensor([[1, rows, columns]], device=images.device).expand(batch, 3)
        return flat.reshape(batch * rows * columns, -1), grid

    def save(self, folder: Path) -> None:
        """Write preprocessor_config.json as transformers reads it."""
        write_json(
            folder / FILE_NAME,
            {
                "image_processor_type": "Qwen2VLImageProcessor",
                "processor_class": "Qwen2_5_VLProcessor",
                "patch_size": self.patch_size,
                "temporal_patch_size": self.temporal_patch_size,
                "merge_size": self.merge_size,
                "size": {"shortest_edge": self.min_pixels, "longest_edge": self.max_pixels},
                "image_mean": list(self.image_mean),
                "image_std": list(self.image_std),
            },
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read preprocessor_config.json; `min_pixels` and `max_pixels` go before `size`.

        Raises:
            ModelError: Naming the missing field.
        """
        config: dict[str, Any] = read_json(folder / FILE_NAME)
        size = config.get("size") or {}
        config.setdefault("min_pixels", size.get("shortest_edge"))
        config.setdefault("max_pixels", size.get("longest_edge"))
        missing = [name for name in cls.__dataclass_fields__ if config.get(name) is None]
        if missing:
            raise ModelError(f"{folder / FILE_NAME} lacks {', '.join(missing)}")
        values = {name: config[name] for name in cls.__dataclass_fields__}
        values["image_mean"] = tuple(values["image_mean"])
        values["image_std"] = tuple(values["image_std"])
        return cls(**values)
