"""Licences of published weights that must be accepted by name in a recipe.

The names are those that the models' pages on the hub give them (`license_name`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

UNRESTRICTED = (
    "apache-2.0", "mit", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "bsd-3-clause",
)  # fmt: skip


class Licence(NamedTuple):
    """A restricted licence."""

    title: str
    page: str  # of the model that it comes with, where it is read and, if gated, accepted


RESTRICTED = {
    "stabilityai-ai-community": Licence(
        "Stability AI Community License",
        "https://huggingface.co/stabilityai/stable-diffusion-3.5-large",
    ),
    "qwen-research": Licence(
        "Qwen Research License", "https://huggingface.co/Qwen/Qwen2.5-VL-3B-Instruct"
    ),
    "dinov3-license": Licence(
        "DINOv3 License", "https://huggingface.co/facebook/dinov3-vitl16-pretrain-lvd1689m"
    ),
}
_SD35_LARGE_LAYERS = 38
_QWEN_3B = {"hidden_size": 2048, "num_hidden_layers": 36}
_SMALLEST_DINOV3 = 384  # width of ViT-S; smaller ones are nobody's but a test's


def recognised(config: Mapping[str, Any]) -> str | None:
    """Return the restricted licence of a published model, known by its configuration.

    It finds copies that came without a manifest. None says only that it is none of the three.
    """
    text = config.get("text_config") or config
    kind, width = config.get("model_type", ""), config.get("hidden_size", 0)
    if kind == "qwen2_5_vl" and all(text.get(key) == size for key, size in _QWEN_3B.items()):
        return "qwen-research"
    if kind == "dinov3_convnext" or (kind == "dinov3_vit" and width >= _SMALLEST_DINOV3):
        return "dinov3-license"
    is_sd3 = config.get("_class_name") == "SD3Transformer2DModel"
    if is_sd3 and config.get("num_layers") == _SD35_LARGE_LAYERS:
        return "stabilityai-ai-community"
    return None


def is_restricted(name: str) -> bool:
    """Return whether a licence must be accepted; one that we do not know must."""
    return name.lower() not in UNRESTRICTED


def described(name: str) -> str:
    """Return a licence's name with its title and where it is read, as far as they are known."""
    known = RESTRICTED.get(name)
    return f"{name} ({known.title}, {known.page})" if known else name
