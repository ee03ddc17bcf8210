"""Random-weight judges and scorers of the real classes, small enough for tests.

They have learnt nothing: recipes that use them set `evaluation.min_self_test_accuracy` to 0.
"""

from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file
from transformers.models.bit.image_processing_bit import BitImageProcessor
from transformers.models.dinov2.configuration_dinov2 import Dinov2Config
from transformers.models.dinov2.modeling_dinov2 import Dinov2Model
from transformers.models.mask2former.configuration_mask2former import Mask2FormerConfig
from transformers.models.mask2former.image_processing_mask2former import Mask2FormerImageProcessor
from transformers.models.mask2former.modeling_mask2former import Mask2FormerForUniversalSegmentation
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLForConditionalGeneration
from transformers.models.swin.configuration_swin import SwinConfig

from uae.data.starter.vocabulary import CLASSES
from uae.evaluation.judges.base import INSTRUCTION
from uae.models.bundle import read_info, write_json
from uae.models.encoder import Encoder
from uae.models.tiny import IMAGE_SIZE, tiny_autoencoder, tiny_bundle
from uae.models.tokenizer import train_tokenizer
from uae.seeds import derive_seed

CONDITION_TOKENS = 192  # a small vocabulary spells dense prompts almost letter by letter
_TEXTS = ("yes no " * 9, f"user assistant Is there a red cat? {INSTRUCTION}", "a photo of a cat")


def tiny_weights(root: Path, *, seed: int = 0) -> Path:
    """Write everything that a recipe's base names; return the bundle's folder."""
    tiny_color_clip(root / "scorers" / "clip", seed=seed)
    tiny_color_clip(root / "scorers" / "longclip", seed=seed + 1)
    tiny_ssl(root / "scorers" / "ssl", seed=seed)
    tiny_detector(root / "detector", seed=seed)
    tiny_judge(root / "judge", seed=seed)
    bundle = tiny_bundle(root / "autoencoder", seed=seed)
    info = read_info(bundle).model_copy(update={"condition_tokens": CONDITION_TOKENS})
    write_json(bundle / "model.json", info.model_dump())
    return bundle


def tiny_color_clip(folder: Path, *, seed: int = 0) -> Path:
    """Write an open_clip model with a tokenizer of its own in local-dir layout."""
    tokenizer = train_tokenizer(_TEXTS, vocab_size=300)
    vision = {"image_size": IMAGE_SIZE, "layers": 1, "width": 32, "patch_size": 8, "head_width": 16}
    text = {"context_length": 16, "width": 16, "heads": 2, "layers": 1}
    text |= {"vocab_size": len(tokenizer)}
    kwargs = {"hf_tokenizer_name": "local", "tokenizer_kwargs": {"local_files_only": True}}
    config: dict[str, Any] = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "tiny-color-clip"))
        model = open_clip.model.CLIP(**config)
    folder.mkdir(parents=True, exist_ok=True)
    preprocess = {"mean": [0.5] * 3, "std": [0.25] * 3, "size": [IMAGE_SIZE] * 2}
    stored = {"model_cfg": config | {"text_cfg": text | kwargs}, "preprocess_cfg": preprocess}
    write_json(folder / "open_clip_config.json", stored)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    tokenizer.save_pretrained(folder)
    return folder


def tiny_ssl(folder: Path, *, seed: int = 0) -> Path:
    """Write a DINOv2 with its image processor."""
    config = Dinov2Config(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=IMAGE_SIZE,
        patch_size=8,
        mlp_ratio=2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "tiny-ssl"))
        Dinov2Model(config).save_pretrained(folder)
    size = {"shortest_edge": IMAGE_SIZE}
    crop = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    BitImageProcessor(size=size, crop_size=crop).save_pretrained(folder)
    return folder


def tiny_detector(folder: Path, *, seed: int = 0) -> Path:
    """Write a Mask2Former over the starter's classes with its image processor."""
    backbone = SwinConfig(
        image_size=IMAGE_SIZE,
        patch_size=4,
        embed_dim=8,
        depths=[1, 1, 1],
        num_heads=[1, 2, 2],
        window_size=4,
        out_features=["stage1", "stage2", "stage3"],
    )
    config = Mask2FormerConfig(
        backbone_config=backbone,
        feature_size=32,  # group norm has 32 groups
        mask_feature_size=32,
        hidden_dim=32,
        encoder_layers=1,
        encoder_feedforward_dim=16,
        decoder_layers=2,
        dim_feedforward=16,
        num_attention_heads=2,
        num_queries=6,
        feature_strides=[4, 8, 16],
        id2label=dict(enumerate(CLASSES)),
        label2id={name: index for index, name in enumerate(CLASSES)},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "tiny-detector"))
        Mask2FormerForUniversalSegmentation(config).save_pretrained(folder)
    size = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    Mask2FormerImageProcessor(size=size, size_divisor=16).save_pretrained(folder)
    return folder


def tiny_judge(folder: Path, *, seed: int = 0) -> Path:
    """Write a Qwen2.5-VL whose tokenizer holds "yes" and "no"."""
    base = tiny_autoencoder(seed=seed).encoder
    tokenizer = train_tokenizer(_TEXTS, vocab_size=320)
    config = base.model.config
    config.text_config.vocab_size = len(tokenizer)
    for name in ("image", "video", "vision_start", "vision_end"):
        token = f"<|{name}_pad|>" if name in ("image", "video") else f"<|{name}|>"
        setattr(config, f"{name}_token_id", tokenizer.convert_tokens_to_ids(token))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "tiny-judge"))
        model = Qwen2_5_VLForConditionalGeneration(config)
    Encoder(model, tokenizer, base.image_processor).save(folder)
    return folder
