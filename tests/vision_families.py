"""Tiny random vision-language models of several families, as save_pretrained leaves them."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import (
    CLIPVisionConfig,
    GotOcr2ImageProcessor,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessor,
    Idefics3Processor,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    InternVLVideoProcessor,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaImageProcessor,
    LlavaProcessor,
    Qwen2Config,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from uae.evaluation.systems.tiny_composed import tiny_vlm
from uae.models.tokenizer import train_tokenizer

SIDE = 32
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 1024,
    "initializer_range": 0.1,
}
VISION = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "image_size": SIDE}
VISION |= {"initializer_range": 0.1}
TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}IMAGE{% else %}{{ part['text'] }}{% endif %}{% endfor %}\n"
    "{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)


def tokenizer_with(*tokens: str, **roles: str) -> Any:
    tokenizer = train_tokenizer(["yes no Yes No " * 9, "user: assistant: a red cat"], 340)
    tokenizer.add_special_tokens({"additional_special_tokens": list(tokens)})
    for role, token in roles.items():
        setattr(tokenizer, role, token)
        setattr(tokenizer, f"{role}_id", tokenizer.convert_tokens_to_ids(token))
    return tokenizer


def text_config(tokenizer: Any) -> dict[str, Any]:
    ids = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id}
    return TEXT | ids | {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}


def save(folder: Path, model: Any, processor: Any, config: Any) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def llava(folder: Path) -> Path:
    tokenizer = tokenizer_with("<image>")
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**VISION, num_hidden_layers=2, patch_size=8),
        text_config=LlamaConfig(**text_config(tokenizer)),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
    )
    size = {"height": SIDE, "width": SIDE}
    processor = LlavaProcessor(
        LlavaImageProcessor(size=size, crop_size=size),
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE.replace("IMAGE", "<image>"),
    )
    return save(folder, LlavaForConditionalGeneration, processor, config)


def idefics3(folder: Path) -> Path:
    """SmolVLM's first generation."""
    marks = ("<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>")
    tiles = [f"<row_{row}_col_{column}>" for row in range(1, 4) for column in range(1, 4)]
    tokenizer = tokenizer_with(*marks, *tiles)
    config = Idefics3Config(
        vision_config={**VISION, "num_hidden_layers": 2, "patch_size": 8},
        text_config={"model_type": "llama", **text_config(tokenizer)},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=tokenizer.pad_token_id,
    )
    processor = Idefics3Processor(
        Idefics3ImageProcessor(
            size={"longest_edge": 2 * SIDE}, max_image_size={"longest_edge": SIDE}
        ),
        tokenizer,
        image_seq_len=4,
        chat_template=TEMPLATE.replace("IMAGE", "<image>"),
    )
    return save(folder, Idefics3ForConditionalGeneration, processor, config)


def internvl(folder: Path) -> Path:
    roles = {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }
    tokenizer = tokenizer_with(*roles.values(), **roles)
    tokenizer._set_model_specific_special_tokens(roles)
    config = InternVLConfig(
        vision_config={**VISION, "num_hidden_layers": 2, "image_size": [SIDE] * 2,
                       "patch_size": [8, 8]},
        text_config=Qwen2Config(**text_config(tokenizer)),
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
    )  # fmt: skip
    processor = InternVLProcessor(
        GotOcr2ImageProcessor(size={"height": SIDE, "width": SIDE}, crop_to_patches=True),
        tokenizer,
        InternVLVideoProcessor(size={"height": SIDE, "width": SIDE}),
        image_seq_length=4,
        chat_template=TEMPLATE.replace("IMAGE", "<IMG_CONTEXT>"),
    )
    return save(folder, InternVLForConditionalGeneration, processor, config)


def qwen3_vl(folder: Path) -> Path:
    tokenizer = tokenizer_with()
    number = partial(tokenizer.convert_tokens_to_ids)
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}
    config = Qwen3VLConfig(
        text_config={**text_config(tokenizer), "head_dim": 16, "rope_parameters": rope},
        vision_config={
            "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2,
            "patch_size": 4, "out_hidden_size": 32, "num_position_embeddings": 64,
            "deepstack_visual_indexes": [0],
        },
        image_token_id=number("<|image_pad|>"),
        video_token_id=number("<|video_pad|>"),
        vision_start_token_id=number("<|vision_start|>"),
        vision_end_token_id=number("<|vision_end|>"),
    )  # fmt: skip
    size = {"shortest_edge": 8**2, "longest_edge": SIDE**2}
    processor = Qwen3VLProcessor(
        Qwen2VLImageProcessor(size=size, patch_size=4),
        tokenizer,
        Qwen3VLVideoProcessor(patch_size=4),
        chat_template=TEMPLATE.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>"),
    )
    return save(folder, Qwen3VLForConditionalGeneration, processor, config)


FAMILIES = {
    "qwen2_5_vl": tiny_vlm,
    "qwen3_vl": qwen3_vl,
    "internvl": internvl,
    "llava": llava,
    "idefics3": idefics3,
}
