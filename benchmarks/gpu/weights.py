"""A bundle and scorers of given configurations with random weights, written tensor by tensor.

Matrices are normal with variance 1 / fan-in, scales are one and biases zero: what goes through a
layer comes out about as large, so that nothing overflows in 16 bit at any depth. Every tensor is
drawn from a generator of its own name.
"""

import json
import math
import os
import struct
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import open_clip
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel
from torch import Tensor, nn
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLForConditionalGeneration

from benchmarks.gpu.configuration import Files
from benchmarks.gpu.tokens import write_tokenizer
from uae.models.bundle import write_json
from uae.models.connector import Connector
from uae.models.decoder import POOLED
from uae.seeds import make_generator

SEED = 0
_META = torch.device("meta")
_SCORER = "open_clip_config.json"

Shapes = Mapping[str, tuple[int, ...]]


def num_bytes(files: Files) -> int:
    """Return what the weights take on disk."""
    bundle = _bundle_shapes(files, files.bundle["encoder/config.json"]).values()
    scorers = map(_scorer_shapes, files.scorers.values())
    return 2 * sum(math.prod(s) for shapes in (*bundle, *scorers) for s in shapes.values())


def write_bundle(files: Files, out: Path) -> None:
    """Write the bundle `out` and the scorers beside it, in bfloat16.

    Args:
        files: Configurations.
        out: The bundle's folder, which must not exist.
    """
    for name, content in files.bundle.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        write_json(out / name, content)
    ids = write_tokenizer(out / "encoder", files.bundle["encoder/config.json"])
    write_json(out / "encoder" / "config.json", ids)
    for path, shapes in _bundle_shapes(files, ids).items():
        write_random(out / path, shapes)
    for name, config in files.scorers.items():
        folder = out.parent / "scorers" / name
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / _SCORER, config)
        write_random(folder / "open_clip_model.safetensors", _scorer_shapes(config))


def write_random(path: Path, shapes: Shapes) -> None:
    """Write one safetensors file of bfloat16 tensors; a few of them are in memory at once."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * math.prod(shape)
        entries[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}
    header = json.dumps(entries).encode()
    header += b" " * (-len(header) % 8)  # tensors are aligned
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for tensor in _drawn(shapes):
            file.write(tensor.flatten().view(torch.int16).numpy().data)


def random_tensor(name: str, shape: tuple[int, ...]) -> Tensor:
    """Return a weight that keeps the size of what goes through it, bfloat16."""
    if len(shape) < 2:
        filled = torch.zeros if name.endswith("bias") else torch.ones
        return filled(shape, dtype=torch.bfloat16)
    generator = make_generator(SEED, "gpu-benchmark", name)
    fan_in = math.prod(shape[1:])
    return (torch.randn(shape, generator=generator) / math.sqrt(fan_in)).to(torch.bfloat16)


def _drawn(shapes: Shapes) -> Iterator[Tensor]:
    """Draw with a thread for each core, no further ahead than that."""
    num_threads = len(os.sched_getaffinity(0))
    items = list(shapes.items())
    with ThreadPoolExecutor(num_threads) as pool:
        for start in range(0, len(items), num_threads):
            yield from pool.map(lambda item: random_tensor(*item), items[start:][:num_threads])


def _bundle_shapes(files: Files, encoder: dict[str, Any]) -> dict[str, Shapes]:
    config = {name.partition("/")[0]: content for name, content in files.bundle.items()}
    pooled = config["transformer"]["pooled_projection_dim"]
    text = _shapes(lambda: Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig.from_dict(encoder)))
    if encoder["tie_word_embeddings"]:
        text = {name: shape for name, shape in text.items() if name != "lm_head.weight"}
    transformer = _shapes(lambda: SD3Transformer2DModel.from_config(config["transformer"]))
    return {
        "encoder/model.safetensors": text,
        "connector/connector.safetensors": _shapes(lambda: Connector(**config["connector"])),
        "transformer/diffusion_pytorch_model.safetensors": transformer,
        "vae/diffusion_pytorch_model.safetensors": _shapes(
            lambda: AutoencoderKL.from_config(config["vae"])
        ),
        f"{POOLED}.safetensors": {POOLED: (pooled,)},
    }


def _scorer_shapes(config: dict[str, Any]) -> Shapes:
    return _shapes(lambda: open_clip.model.CLIP(**config["model_cfg"]))


def _shapes(build: Callable[[], nn.Module]) -> Shapes:
    with _META:
        module = build()
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
