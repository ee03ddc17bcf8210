"""Random-weight models of the real classes for composed systems and judges: saved folders.

They have learnt nothing; what they show is that files, processors, templates and shapes are right.
Sizes follow those of the libraries' own fast tests. A picture of 32 x 32 takes well under a second.
"""

import inspect
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_dc import AutoencoderDC
from diffusers.models.autoencoders.autoencoder_kl_qwenimage import AutoencoderKLQwenImage
from diffusers.models.transformers.sana_transformer import SanaTransformer2DModel
from diffusers.models.transformers.transformer_qwenimage import QwenImageTransformer2DModel
from diffusers.pipelines.qwenimage.pipeline_qwenimage import QwenImagePipeline
from diffusers.pipelines.sana.pipeline_sana import SanaPipeline
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_flow_match_euler_discrete import (
    FlowMatchEulerDiscreteScheduler,
)
from diffusers.utils.logging import disable_progress_bar
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers.models.bert.tokenization_bert import BertTokenizer
from transformers.models.blip.configuration_blip import BlipConfig
from transformers.models.blip.image_processing_blip import BlipImageProcessor
from transformers.models.blip.modeling_blip import BlipForQuestionAnswering
from transformers.models.blip.processing_blip import BlipProcessor
from transformers.models.gemma.tokenization_gemma import GemmaTokenizer
from transformers.models.gemma2.configuration_gemma2 import Gemma2Config
from transformers.models.gemma2.modeling_gemma2 import Gemma2Model
from transformers.models.qwen2.tokenization_qwen2 import Qwen2Tokenizer
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_5_vl.processing_qwen2_5_vl import Qwen2_5_VLProcessor
from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor
from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor
from transformers.utils.logging import disable_progress_bar as disable_transformers_bar

from uae.data.starter.captions import complete_caption
from uae.data.starter.scenes import sample_facts
from uae.models.tokenizer import train_tokenizer
from uae.seeds import derive_seed

IMAGE_SIZE = 32
_ANSWERS = ("yes no Yes No " * 9, "user assistant Is there a cat? Answer with yes or no.")


def tiny_vlm(folder: Path, *, seed: int = 0) -> Path:
    """Write a Qwen2.5-VL with its processor, a chat template and tokens for yes and no."""
    tokenizer = train_tokenizer([*_ANSWERS, *_captions()], vocab_size=500)
    processor = Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(
            size={"shortest_edge": 8**2, "longest_edge": IMAGE_SIZE**2}, patch_size=4
        ),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(patch_size=4),
        chat_template=tokenizer.chat_template,
    )
    with _seeded(seed, "tiny-vlm"):
        Qwen2_5_VLForConditionalGeneration(_qwen_config(tokenizer, width=32)).save_pretrained(
            folder
        )
    processor.save_pretrained(folder)
    return folder


def tiny_blip(folder: Path, *, seed: int = 0) -> Path:
    """Write a BlipForQuestionAnswering with its processor."""
    folder.mkdir(parents=True, exist_ok=True)
    words = sorted({word for text in (*_captions(), *_ANSWERS) for word in text.lower().split()})
    letters = [chr(code) for code in range(33, 127) if chr(code) == chr(code).lower()]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]"]
    tokens = list(dict.fromkeys([*tokens, *letters, *(f"##{c}" for c in letters), *words]))
    text = {
        "vocab_size": len(tokens),
        "hidden_size": 32,
        "encoder_hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 128,
        "bos_token_id": tokens.index("[DEC]"),
        "sep_token_id": tokens.index("[SEP]"),
        "eos_token_id": tokens.index("[SEP]"),
        "pad_token_id": 0,
        "initializer_range": 0.2,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
    vision = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": IMAGE_SIZE,
        "patch_size": 8,
        "initializer_range": 0.2,
    }
    config = BlipConfig(text_config=text, vision_config=vision, projection_dim=16)
    with _seeded(seed, "tiny-blip"):
        BlipForQuestionAnswering(config).save_pretrained(folder)
    size = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    tokenizer = BertTokenizer(vocab={token: number for number, token in enumerate(tokens)})
    BlipProcessor(BlipImageProcessor(size=size), tokenizer).save_pretrained(folder)
    return folder


def tiny_sana(folder: Path, *, seed: int = 0) -> Path:
    """Write a SanaPipeline; sides are multiples of 32."""
    with _seeded(seed, "tiny-sana"):
        pipeline = SanaPipeline(
            tokenizer=_gemma_tokenizer(),
            text_encoder=_gemma(),
            vae=_deep_compression_autoencoder(),
            transformer=SanaTransformer2DModel(
                patch_size=1,
                in_channels=4,
                out_channels=4,
                num_layers=1,
                num_attention_heads=2,
                attention_head_dim=4,
                num_cross_attention_heads=2,
                cross_attention_head_dim=4,
                cross_attention_dim=8,
                caption_channels=8,
                sample_size=32,
            ),
            scheduler=DPMSolverMultistepScheduler(
                prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
            ),
        )
        pipeline.save_pretrained(folder)
    return folder


def tiny_qwen_image(folder: Path, *, seed: int = 0, stochastic: bool = False) -> Path:
    """Write a QwenImagePipeline; sides are multiples of 8.

    `stochastic` lets its scheduler draw noise at every step, for which the pipeline hands it no
    generator.
    """
    tokenizer = train_tokenizer([*_ANSWERS, *_captions()], vocab_size=500)
    with _seeded(seed, "tiny-qwen-image"):
        pipeline = QwenImagePipeline(
            tokenizer=tokenizer,
            text_encoder=Qwen2_5_VLForConditionalGeneration(_qwen_config(tokenizer, width=32)),
            vae=AutoencoderKLQwenImage(
                base_dim=12,
                z_dim=4,
                dim_mult=[1, 2, 4],
                num_res_blocks=1,
                temperal_downsample=[False, True],
                latents_mean=[0.0] * 4,
                latents_std=[1.0] * 4,
            ),
            transformer=QwenImageTransformer2DModel(
                patch_size=2,
                in_channels=16,
                out_channels=4,
                num_layers=1,
                attention_head_dim=16,
                num_attention_heads=2,
                joint_attention_dim=32,
                axes_dims_rope=(8, 4, 4),
            ),
            scheduler=FlowMatchEulerDiscreteScheduler(
                use_dynamic_shifting=True, stochastic_sampling=stochastic
            ),
        )
        pipeline.save_pretrained(folder)
    return folder


@contextmanager
def _seeded(seed: int, name: str) -> Iterator[None]:
    disable_progress_bar()
    disable_transformers_bar()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, name))
        yield


def _captions() -> list[str]:
    rng = random.Random(0)
    return [complete_caption(sample_facts(rng)) for _ in range(100)]


def _qwen_config(tokenizer: Qwen2Tokenizer, *, width: int) -> Qwen2_5_VLConfig:
    token_id = tokenizer.convert_tokens_to_ids
    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": width,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "max_position_embeddings": 1024,
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
            "hidden_size": width,
            "intermediate_size": 64,
            "num_heads": 2,
            "patch_size": 4,
            "window_size": 16,
            "out_hidden_size": width,
            "fullatt_block_indexes": [1],
            "initializer_range": 0.1,
        },
        image_token_id=token_id("<|image_pad|>"),
        video_token_id=token_id("<|video_pad|>"),
        vision_start_token_id=token_id("<|vision_start|>"),
        vision_end_token_id=token_id("<|vision_end|>"),
        tie_word_embeddings=True,
    )


def _gemma() -> Gemma2Model:
    return Gemma2Model(
        Gemma2Config(
            vocab_size=len(_gemma_tokenizer()),
            head_dim=16,
            hidden_size=8,
            intermediate_size=64,
            num_attention_heads=2,
            num_hidden_layers=1,
            num_key_value_heads=2,
            initializer_range=0.2,
        )
    )


def _gemma_tokenizer() -> GemmaTokenizer:
    """Learn Gemma's kind of BPE from captions and the instruction that Sana puts before a text."""
    call = inspect.signature(SanaPipeline.__call__)
    instruction = call.parameters["complex_human_instruction"].default
    learner = Tokenizer(BPE(unk_token="<unk>", byte_fallback=True))
    learner.normalizer = normalizers.Replace(" ", "▁")
    learner.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = BpeTrainer(vocab_size=900, special_tokens=[*special, *fallback], show_progress=False)
    learner.train_from_iterator([*instruction, *_captions(), *_ANSWERS], trainer)
    merges = json.loads(learner.to_str())["model"]["merges"]
    return GemmaTokenizer(vocab=learner.get_vocab(), merges=[tuple(pair) for pair in merges])


def _deep_compression_autoencoder() -> AutoencoderDC:
    sides = {
        f"{side}_{name}": value
        for side in ("encoder", "decoder")
        for name, value in {
            "block_types": ("ResBlock", "EfficientViTBlock"),
            "block_out_channels": (8, 8),
            "qkv_multiscales": ((), (5,)),
            "layers_per_block": (1, 1),
        }.items()
    }
    return AutoencoderDC(
        in_channels=3,
        latent_channels=4,
        attention_head_dim=2,
        downsample_block_type="conv",
        upsample_block_type="interpolate",
        decoder_norm_types="rms_norm",
        decoder_act_fns="silu",
        scaling_factor=0.41407,
        **sides,
    )
