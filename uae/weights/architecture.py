"""Whether a bundle's weights are those of its configurations, by shapes that tell; without torch.

`uae.weights.expected` compares every tensor, with the classes themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from uae.errors import ModelError
from uae.models.bundle import read_json
from uae.weights.headers import TensorFacts, differences, read_folder, read_header

POOLED = "pooled_projection"
POOLED_FILE = f"{POOLED}.safetensors"
PARTS = ("encoder", "connector", "transformer", "vae")
CLASSES = {  # part -> key of its configuration, and what it must say
    "encoder": ("model_type", "qwen2_5_vl"),
    "transformer": ("_class_name", "SD3Transformer2DModel"),
    "vae": ("_class_name", "AutoencoderKL"),
}
# Qwen2.5-VL's files keep the names of its first code; transformers translates them both ways.
_PUBLISHED_NAMES = (
    (re.compile(r"^visual\."), "model.visual."),
    (re.compile(r"^model\.(?!language_model\.|visual\.)"), "model.language_model."),
)
Tensors = Mapping[str, TensorFacts]


def read_bundle(bundle: Path) -> tuple[dict[str, Tensors], list[str]]:
    """Read the headers of a bundle's parts; return them and what is wrong with the others.

    The encoder's tensors get the names of today's class, whichever the files have.
    """
    found: dict[str, Tensors] = {}
    faults = []
    for part in (*PARTS, POOLED_FILE):
        path = bundle / part
        try:
            is_file = part == POOLED_FILE
            found[part] = read_header(path).tensors if is_file else read_folder(path)
        except ModelError as error:
            faults.append(str(error))
    if "encoder" in found:
        found["encoder"] = {_class_name(name): t for name, t in found["encoder"].items()}
    return found, faults


def _class_name(name: str) -> str:
    for pattern, replacement in _PUBLISHED_NAMES:
        name = pattern.sub(replacement, name)
    return name


def read_config(path: Path) -> dict[str, Any]:
    """Read a model's configuration.

    Raises:
        ModelError: If it is missing, or no JSON object.
    """
    config = read_json(path)
    if not isinstance(config, dict):
        raise ModelError(f"{path} is no configuration, but a JSON {type(config).__name__}")
    return config


def check_class(part: str, config: Mapping[str, Any], where: Path) -> None:
    """Refuse a configuration of another class than a bundle's part has.

    Raises:
        ModelError: Naming both.
    """
    key, wanted = CLASSES[part]
    if config.get(key) != wanted:
        raise ModelError(
            f"{where} is of another architecture: {key} is {config.get(key)!r}, not {wanted!r}"
        )


def check_architecture(bundle: Path, tensors: Mapping[str, Tensors]) -> list[str]:
    """Compare configurations with each other and with the tensors of the parts that were read."""
    configs, faults = {}, []
    for part in PARTS:
        path = bundle / part / "config.json"
        try:
            configs[part] = read_config(path)
            if part in CLASSES:
                check_class(part, configs[part], path)
        except ModelError as error:
            faults.append(str(error))
    if faults:
        return faults
    try:
        faults += _check_scheduler(bundle / "scheduler" / "scheduler_config.json")
        faults += _check_fit(bundle, configs)
        for part, found in tensors.items():
            faults += _check_shapes(bundle, part, configs, found)
    except (KeyError, TypeError) as error:
        faults.append(f"{bundle}: a configuration lacks {error}")
    return faults


def _check_scheduler(path: Path) -> Iterator[str]:
    scheduler = read_config(path)
    if scheduler.get("use_dynamic_shifting") or "shift" not in scheduler:
        yield f"{path} must have a constant shift"


def _check_fit(bundle: Path, configs: Mapping[str, Any]) -> Iterator[str]:
    transformer, connector, vae = (configs[part] for part in ("transformer", "connector", "vae"))
    text = text_config(configs["encoder"])
    fits = {
        "the connector reads {} numbers, the encoder gives {}": (
            connector["in_features"], text["hidden_size"],
        ),
        "the connector gives {} numbers, the transformer reads {}": (
            connector["out_features"], transformer["joint_attention_dim"],
        ),
        "the VAE has {} channels, the transformer reads {}": (
            vae["latent_channels"], transformer["in_channels"],
        ),
    }  # fmt: skip
    for said, (one, other) in fits.items():
        if one != other:
            yield f"{bundle}: {said.format(one, other)}"


def text_config(encoder: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the language model's configuration, in both forms that transformers has written."""
    found: Mapping[str, Any] = encoder.get("text_config") or encoder
    return found


def _check_shapes(
    bundle: Path, part: str, configs: Mapping[str, Any], found: Tensors
) -> Iterator[str]:
    expected, blocks = _telling(part, configs)
    present = {name: facts for name, facts in found.items() if name in expected}
    if said := differences(expected, present):
        yield f"{bundle / part} does not fit its configuration; tensors {said}"
    for pattern, count in blocks.items():
        numbers = {int(m[1]) for name in found if (m := re.match(pattern, name))}
        if numbers != set(range(count)):
            yield (
                f"{bundle / part} has weights of {len(numbers)} blocks, its configuration says "
                f"{count}"
            )


def _telling(
    part: str, configs: Mapping[str, Any]
) -> tuple[dict[str, tuple[int, ...]], dict[str, int]]:
    """Return shapes and numbers of blocks that follow from a configuration at once."""
    config = configs.get(part, {})
    if part == "encoder":
        text, vision = text_config(config), config["vision_config"]
        embedding = "model.language_model.embed_tokens.weight"
        return {embedding: (text["vocab_size"], text["hidden_size"])}, {
            r"model\.language_model\.layers\.(\d+)\.": text["num_hidden_layers"],
            r"model\.visual\.blocks\.(\d+)\.": vision["depth"],
        }
    if part == "transformer":
        width = config["num_attention_heads"] * config["attention_head_dim"]
        read = config["joint_attention_dim"]
        return {"context_embedder.weight": (width, read)}, {
            r"transformer_blocks\.(\d+)\.": config["num_layers"]
        }
    if part == "connector":
        hidden = config["hidden_features"]
        outer = (config["out_features"], hidden)
        return {"inner.weight": (hidden, config["in_features"]), "outer.weight": outer}, {}
    if part == POOLED_FILE:
        return {POOLED: (configs["transformer"]["pooled_projection_dim"],)}, {}
    return {}, {}
