"""Every tensor that a model must have: the class itself, built on torch's meta device.

For parts of a bundle and for open_clip's folders. Scorers of transformers are compared by the
library when they are loaded: it renames tensors of older files itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from uae.errors import ModelError
from uae.models.bundle import loading
from uae.rewards.scorer_files import CONFIG_FILE
from uae.weights.architecture import POOLED, POOLED_FILE, read_config
from uae.weights.headers import TensorFacts, differences

Shapes = dict[str, tuple[int, ...]]


def check_part(folder: Path, found: Mapping[str, TensorFacts]) -> None:
    """Refuse weights that are not those of their configuration.

    Args:
        folder: A part of a bundle (`.../transformer`, `.../pooled_projection.safetensors`), or
            a folder of open_clip. Other folders are not looked at.
        found: The tensors that it has.

    Raises:
        ModelError: Naming the tensors that are missing, too many, or of another shape.
    """
    expected = _expected(folder)
    if expected is None:
        return
    shapes, optional = expected
    present = {name: facts for name, facts in found.items() if name not in optional}
    if said := differences(shapes, present):
        raise ModelError(f"{folder} does not fit its configuration; tensors {said}")


def _expected(folder: Path) -> tuple[Shapes, set[str]] | None:
    """Return shapes by name, and names that may be there too: second names of others."""
    if (folder / CONFIG_FILE).is_file():
        clip = _open_clip(folder)
        return None if clip is None else (clip, set())
    if folder.name == POOLED_FILE:
        transformer = read_config(folder.parent / "transformer" / "config.json")
        return {POOLED: (transformer["pooled_projection_dim"],)}, set()
    builders = {"encoder": _encoder, "connector": _connector}
    builders |= {"transformer": _transformer, "vae": _vae}
    is_part = (folder.parent / "model.json").is_file() and folder.name in builders
    if not is_part:
        return None
    import torch

    with loading(folder), torch.device("meta"):
        module = builders[folder.name](read_config(folder / "config.json"))
    config = getattr(module, "config", None)
    is_tied = getattr(config, "tie_word_embeddings", False)
    optional = set(getattr(module, "_tied_weights_keys", None) or ()) if is_tied else set()
    shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    return {name: shape for name, shape in shapes.items() if name not in optional}, optional


def _encoder(config: Any) -> Any:
    from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLConfig
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import (
        Qwen2_5_VLForConditionalGeneration,
    )

    return Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig.from_dict(config))


def _connector(config: Any) -> Any:
    from uae.models.connector import Connector

    return Connector(**config)


def _transformer(config: Any) -> Any:
    from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel

    return SD3Transformer2DModel.from_config(config)


def _vae(config: Any) -> Any:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    return AutoencoderKL.from_config(config)


def _open_clip(folder: Path) -> Shapes | None:
    """Return the shapes of OpenAI's architecture; None for towers of other libraries."""
    import open_clip
    import torch

    model = read_config(folder / CONFIG_FILE).get("model_cfg", {})
    text, vision = model.get("text_cfg", {}), model.get("vision_cfg", {})
    if {"custom_text", "multimodal_cfg"} & model.keys() or "timm_model_name" in vision:
        return None
    if "hf_model_name" in text:
        return None
    text = {key: value for key, value in text.items() if not key.startswith(("hf_", "tokenizer"))}
    with loading(folder), torch.device("meta"):
        clip = open_clip.model.CLIP(**(model | {"text_cfg": text}))
    return {name: tuple(tensor.shape) for name, tensor in clip.state_dict().items()}
