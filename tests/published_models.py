"""Tiny random models in the files that Qwen2.5-VL-3B-Instruct and SD3.5-large are published in."""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tiny_stable_diffusion import clip_tokenizer
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from uae.models.autoencoder import AutoEncoder

MODEL = "model.safetensors"
INDEX = f"{MODEL}.index.json"
PUBLISHED_MAX_PIXELS = 12_845_056


def publish_encoder(model: AutoEncoder, folder: Path) -> Path:
    """Write the encoder with the names, the flat configuration and the two files of 2025."""
    model.encoder.save(folder)
    tensors = load_file(folder / MODEL)  # transformers saves under the published names
    assert "visual.patch_embed.proj.weight" in tensors
    (folder / MODEL).unlink()
    half = len(tensors) // 2
    parts = {
        "model-00001-of-00002.safetensors": sorted(tensors)[:half],
        "model-00002-of-00002.safetensors": sorted(tensors)[half:],
    }
    for file, names in parts.items():
        save_file({name: tensors[name].bfloat16() for name in names}, folder / file)
    places = {name: file for file, names in parts.items() for name in names}
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}))
    config = json.loads((folder / "config.json").read_text())
    text = config.pop("text_config")
    rope = text.pop("rope_parameters")
    del text["layer_types"]
    flat = text | config | {"rope_theta": rope["rope_theta"], "model_type": "qwen2_5_vl"}
    flat["rope_scaling"] = {"type": "mrope", "mrope_section": rope["mrope_section"]}
    (folder / "config.json").write_text(json.dumps(flat))
    processor = json.loads((folder / "preprocessor_config.json").read_text())
    size = processor.pop("size")
    processor |= {"min_pixels": size["shortest_edge"], "max_pixels": PUBLISHED_MAX_PIXELS}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    (folder / "LICENSE").write_text("An encoder's licence.\n")
    torch.save({}, folder / "optimizer.pt")
    return folder


def publish_decoder(model: AutoEncoder, folder: Path) -> Path:
    """Write the decoder with two CLIP text encoders, and what a repository holds besides."""
    model.decoder.save(folder)
    (folder / "pooled_projection.safetensors").unlink()
    width = model.decoder.transformer.config.pooled_projection_dim // 2
    for number, ending in enumerate(("", "_2")):
        tokenizer = clip_tokenizer(77)
        tokenizer.save_pretrained(folder / f"tokenizer{ending}")
        config = CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            projection_dim=width,
            hidden_act=("quick_gelu", "gelu")[number],
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(number)
            encoder = CLIPTextModelWithProjection(config)
        encoder.save_pretrained(folder / f"text_encoder{ending}")
        shutil.copy(
            folder / f"text_encoder{ending}" / MODEL,
            folder / f"text_encoder{ending}" / "model.fp16.safetensors",
        )
    (folder / "sd3.5_large.safetensors").write_bytes(b"the same in one file")
    (folder / "LICENSE.md").write_text("A decoder's licence.\n")
    (folder / "model_index.json").write_text("{}")
    return folder
