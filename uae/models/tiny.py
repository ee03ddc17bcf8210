"""Random-weight models of the real classes, small enough for tests: about a second to write.

They have learnt nothing; what they show is that shapes, files, adapters and gradients are right.
"""

from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel
from safetensors.torch import save_file
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLForConditionalGeneration

from uae.models.autoencoder import AutoEncoder
from uae.models.bundle import BundleInfo, write_json
from uae.models.connector import Connector
from uae.models.decoder import Decoder, flow_matching_scheduler
from uae.models.encoder import CAPTION_PROMPT, GENERATE_ROLE, Encoder
from uae.models.image_processor import ImageProcessor
from uae.models.tokenizer import train_tokenizer
from uae.recipe import Recipe
from uae.recipe_files import load_recipe
from uae.seeds import derive_seed

IMAGE_SIZE = 32
CONDITION_TOKENS = 32
WIDTH = 32  # of every hidden state
TINY_CLIP = {
    "embed_dim": 16,
    "vision_cfg": {
        "image_size": IMAGE_SIZE,
        "layers": 1,
        "width": 32,
        "head_width": 16,
        "patch_size": 8,
    },
    "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1},
}
_CORPUS = (
    CAPTION_PROMPT,
    f"user assistant {GENERATE_ROLE} system",
    "a large red apple at the top left and a small blue cat at the bottom right",
    'the word "SUN" on a green background, a yellow car in the center',
)


def tiny_bundle(folder: Path, *, seed: int = 0) -> Path:
    """Write a complete bundle of random weights, under 1 MB; return its folder."""
    tiny_autoencoder(seed=seed).save(folder, stage="base", parent=None)
    return folder


def tiny_autoencoder(*, seed: int = 0) -> AutoEncoder:
    """Build the auto-encoder that `tiny_bundle` writes, without touching the global seed."""
    info = BundleInfo(
        stage="base",
        condition_source="reencode_text",
        condition_tokens=CONDITION_TOKENS,
        image_size=IMAGE_SIZE,
        parent=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "tiny"))
        encoder, connector, decoder = _encoder(), Connector(WIDTH, 64, WIDTH), _decoder()
    return AutoEncoder(encoder, connector.requires_grad_(False).eval(), decoder, info)


def tiny_clip(folder: Path, *, seed: int = 0) -> Path:
    """Write a random open_clip model as `local-dir:` reads it; return its folder."""
    import open_clip  # takes seconds to import

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "tiny-clip"))
        model = open_clip.model.CLIP(**TINY_CLIP)
    folder.mkdir(parents=True, exist_ok=True)
    preprocess = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "size": [IMAGE_SIZE] * 2}
    config = {"model_cfg": TINY_CLIP, "preprocess_cfg": preprocess}
    write_json(folder / "open_clip_config.json", config)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return folder


def tiny_recipe(**overrides: Any) -> Recipe:
    """Return the starter recipe, shrunk; sections given as mappings are merged key by key.

    Example:
        >>> recipe = tiny_recipe(models={"base": "bundle"}, cold_start={"num_updates": 1})
        >>> recipe.models.base, recipe.cold_start.num_updates, recipe.cold_start.batch_size
        ('bundle', 1, 2)
    """
    values = load_recipe("starter").model_dump(mode="json")
    supervised = {"num_updates": 2, "batch_size": 2, "checkpoint_every": 1}
    lora = {"rank": 2, "alpha": 4}
    few_steps = {"num_steps": 2}
    shrunk: dict[str, Any] = {
        "models": {"num_threads": 1},
        "data": {"image_size": IMAGE_SIZE, "min_side_pixels": 16},
        "pretrain_decoder": supervised,
        "cold_start": {
            **supervised,
            "encoder_lora": lora,
            "decoder_lora": lora,
            "num_sampling_steps": 2,
            "max_new_tokens": 8,
        },
        "generation_for_understanding": {
            **supervised,
            "lora": lora,
            "rollout": {"group_size": 2, "max_new_tokens": 8},
            "sampler": few_steps,
        },
        "understanding_for_generation": {
            **supervised,
            "lora": lora,
            "rollout": {"group_size": 2, "num_steps": 4, "window_size": 2, "window_start_max": 1},
            "max_new_tokens": 8,
            "early_stopping": None,
        },
        "evaluation": {
            "batch_size": 4,
            "max_new_tokens": 8,
            "sampler": few_steps,
            "bootstrap_resamples": 20,
            "unified_bench": {"num_samples": 4},
            "geneval": {"num_prompts": 2, "images_per_prompt": 1},
            "dpg_bench": {"num_prompts": 2},
        },
    }
    return Recipe.model_validate(_merged(_merged(values, shrunk), overrides))


def _merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(values)
    for key, change in changes.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(change, dict):
            change = _merged(old, change)
        merged[key] = change
    return merged


def _encoder() -> Encoder:
    tokenizer = train_tokenizer(_CORPUS, vocab_size=340)
    token_id = tokenizer.convert_tokens_to_ids
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": WIDTH,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "max_position_embeddings": 512,
            "initializer_range": 0.1,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [2, 3, 3],
            },
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={
            "depth": 2,
            "hidden_size": WIDTH,
            "intermediate_size": 64,
            "num_heads": 2,
            "patch_size": 4,
            "window_size": 16,
            "out_hidden_size": WIDTH,
            "fullatt_block_indexes": [1],
            "initializer_range": 0.1,
        },
        image_token_id=token_id("<|image_pad|>"),
        video_token_id=token_id("<|video_pad|>"),
        vision_start_token_id=token_id("<|vision_start|>"),
        vision_end_token_id=token_id("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    processor = ImageProcessor(
        patch_size=4,
        temporal_patch_size=2,
        merge_size=2,
        min_pixels=8**2,
        max_pixels=IMAGE_SIZE**2,
        image_mean=(0.5, 0.5, 0.5),
        image_std=(0.25, 0.25, 0.25),
    )
    model = Qwen2_5_VLForConditionalGeneration(config).requires_grad_(False)
    return Encoder(model, tokenizer, processor)


def _decoder() -> Decoder:
    transformer = SD3Transformer2DModel(
        sample_size=4,
        patch_size=1,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        caption_projection_dim=WIDTH,
        pooled_projection_dim=16,
        pos_embed_max_size=8,
        qk_norm="rms_norm",
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=IMAGE_SIZE,
        scaling_factor=1.5,
        shift_factor=0.1,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    return Decoder(
        transformer.requires_grad_(False),
        vae.requires_grad_(False),
        torch.randn(16),
        flow_matching_scheduler(shift=3.0),
    )
