"""A tiny random Stable Diffusion whose safety checker finds everything unsafe, or nothing."""

import string
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
)

SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
SIZES |= {"num_attention_heads": 2}


def clip_tokenizer(max_length: int) -> CLIPTokenizer:
    """Spell letter by letter."""
    letters = [*string.ascii_lowercase, *(f"{letter}</w>" for letter in string.ascii_lowercase)]
    tokens = [*letters, "<|startoftext|>", "<|endoftext|>"]
    vocab = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocab, merges=[], model_max_length=max_length)


def tiny_stable_diffusion(folder: Path, *, unsafe: bool) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vision = {**SIZES, "image_size": 32, "patch_size": 8, "projection_dim": 16}
        config = CLIPConfig(vision_config=vision, text_config=SIZES, projection_dim=16)
        checker = StableDiffusionSafetyChecker(config)
        # A picture is unsafe where its similarity to a concept is above the concept's weight.
        for weights in (checker.concept_embeds_weights, checker.special_care_embeds_weights):
            weights.data.fill_(-2.0 if unsafe else 2.0)
        tokenizer = clip_tokenizer(77)
        StableDiffusionPipeline(
            vae=AutoencoderKL(
                block_out_channels=(8, 8),
                down_block_types=("DownEncoderBlock2D",) * 2,
                up_block_types=("UpDecoderBlock2D",) * 2,
                norm_num_groups=4,
            ),
            unet=UNet2DConditionModel(
                block_out_channels=(8, 16),
                layers_per_block=1,
                down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
                up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
                cross_attention_dim=16,
                attention_head_dim=2,
                norm_num_groups=4,
            ),
            text_encoder=CLIPTextModel(CLIPTextConfig(**SIZES, vocab_size=len(tokenizer))),
            tokenizer=tokenizer,
            scheduler=DDIMScheduler(clip_sample=False, steps_offset=1),
            safety_checker=checker,
            feature_extractor=CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32),
        ).save_pretrained(folder)
    return folder
