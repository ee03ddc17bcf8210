"""How alike two pictures are: the cosine between their features in a frozen image encoder.

Shape letters: B images, C, H, W channels, height and width, D feature width.
"""

from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torchvision.transforms.functional import center_crop

from uae.errors import ModelError, TrainingError
from uae.rewards.scorer_files import find_scorer


class ReconstructionScorer(nn.Module):
    """A frozen open_clip image encoder with its own preprocessing, differentiable throughout."""

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, image_encoder: nn.Module, preprocessing: dict[str, Any]) -> None:
        super().__init__()
        self.name = name
        self.encoder = image_encoder.eval().requires_grad_(False)
        self.size = _square_size(name, preprocessing)
        self.interpolation = str(preprocessing["interpolation"])
        for statistic in ("mean", "std"):
            values = torch.tensor(preprocessing[statistic]).reshape(1, 3, 1, 1)
            self.register_buffer(statistic, values, persistent=False)

    def features(self, images_BCHW: Tensor) -> Tensor:
        """Return L2-normalised features.

        Args:
            images_BCHW: RGB in [0, 1], any size. Gradients flow back to them.

        Returns:
            Features (B, D), float32.

        Raises:
            TrainingError: If a picture's feature is zero or not finite: that is never a score.
        """
        pixels_BCHW = self.preprocess(images_BCHW).to(next(self.encoder.parameters()).dtype)
        features_BD: Tensor = self.encoder(pixels_BCHW).float()
        length_B1: Tensor = features_BD.norm(dim=1, keepdim=True)
        usable_B = (torch.isfinite(length_B1) & (length_B1 > 0)).squeeze(1)
        if not usable_B.all():
            rows = (~usable_B).nonzero().flatten().tolist()
            raise TrainingError(
                f"scorer {self.name!r} has no finite feature for pictures {rows} of a batch of "
                f"{len(images_BCHW)}: look for NaN in the pictures or in the scorer's weights"
            )
        return features_BD / length_B1

    def preprocess(self, images_BCHW: Tensor) -> Tensor:
        """Resize the shorter side, crop the centre, normalise: open_clip's transform on tensors.

        Pillow, which open_clip uses, rounds the resized picture to 8 bits; this does not.
        """
        height, width = images_BCHW.shape[-2:]
        factor = self.size / min(height, width)
        shape = (int(height * factor + 1e-6), int(width * factor + 1e-6))
        images: Tensor = images_BCHW.float()
        if shape != (height, width):
            images = interpolate(images, shape, mode=self.interpolation, antialias=True)
            images = images.clamp(0, 1)  # bicubic overshoots at edges; Pillow clips it too
        images = center_crop(images, [self.size, self.size])
        return (images - self.mean) / self.std

    def score(self, images_BCHW: Tensor, reference_features_BD: Tensor) -> Tensor:
        """Return the cosine of every picture with its reference, (B,), in [-1, 1].

        Args:
            images_BCHW: RGB in [0, 1].
            reference_features_BD: What `features` gave for the originals.

        Raises:
            TrainingError: As `features`.
            ValueError: If there are not as many references as pictures.
        """
        if len(images_BCHW) != len(reference_features_BD):
            raise ValueError(
                f"{len(images_BCHW)} pictures against {len(reference_features_BD)} references"
            )
        return (self.features(images_BCHW) * reference_features_BD).sum(dim=1)


def load_scorer(
    name_or_path: str,
    weights_root: Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> ReconstructionScorer:
    """Load an image encoder from a folder in open_clip's `local-dir` layout.

    Args:
        name_or_path: A name under `weights_root/scorers`, or else a folder.
        weights_root: The base weights' folder.
        device: Where the scorer computes.
        dtype: Of the encoder. Preprocessing, features and cosines are float32 in any case.

    Raises:
        ModelError: If there is no such folder, a file is missing, or the weights do not fit.
    """
    folder = find_scorer(name_or_path, weights_root)
    try:
        model = open_clip.create_model(f"local-dir:{folder.resolve()}", precision="fp32")
    except (RuntimeError, ValueError, TypeError) as error:
        raise ModelError(f"scorer {name_or_path!r} in {folder} does not load: {error}") from error
    preprocessing = open_clip.get_model_preprocess_cfg(model)
    encoder = model.visual.to(dtype)
    return ReconstructionScorer(Path(name_or_path).name, encoder, preprocessing).to(device)


def _square_size(name: str, preprocessing: dict[str, Any]) -> int:
    size = preprocessing["size"]
    height, width = (size, size) if isinstance(size, int) else size
    if height != width or preprocessing["resize_mode"] != "shortest":
        raise ModelError(
            f"scorer {name!r} wants pictures of {height} x {width} with resize_mode "
            f"{preprocessing['resize_mode']!r}; only square pictures with 'shortest' are supported"
        )
    return int(height)
