"""The decoder's constant pooled embedding: what SD3's two CLIP encoders give for the empty prompt.

Source: arXiv:2509.09666 conditions SD3.5 on it in both branches; how it is computed is diffusers'
StableDiffusion3Pipeline (`_get_clip_prompt_embeds`, projected embeddings side by side).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from uae.models.bundle import load_transformers, loading

ENCODERS = (("tokenizer", "text_encoder"), ("tokenizer_2", "text_encoder_2"))
_LENGTH = 77  # tokens of a CLIP prompt, padding included


@torch.no_grad()
def pooled_embedding(folder: Path) -> Tensor:
    """Return the pooled embedding of "", (D,), float32; one encoder is in memory at a time.

    Args:
        folder: Holds `tokenizer`, `text_encoder`, `tokenizer_2` and `text_encoder_2`.

    Raises:
        ModelError: If one of them cannot be read.
    """
    parts = [_pooled(folder / tokenizer, folder / encoder) for tokenizer, encoder in ENCODERS]
    return torch.cat(parts)


def _pooled(tokenizer_folder: Path, encoder_folder: Path) -> Tensor:
    with loading(tokenizer_folder):
        tokenizer = CLIPTokenizer.from_pretrained(tokenizer_folder, local_files_only=True)
    encoder: Any = load_transformers(CLIPTextModelWithProjection, encoder_folder)
    ids = tokenizer(
        "", padding="max_length", max_length=_LENGTH, truncation=True, return_tensors="pt"
    ).input_ids
    embedding: Tensor = encoder(ids).text_embeds[0].float()
    return embedding
