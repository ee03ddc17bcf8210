"""Random-weight folders of Janus, Emu3 and Chameleon, small enough for tests and examples.

They have learnt nothing: what they show is that the code of the real classes runs, files included.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers.models.chameleon.configuration_chameleon import ChameleonConfig
from transformers.models.chameleon.image_processing_chameleon import ChameleonImageProcessor
from transformers.models.chameleon.modeling_chameleon import ChameleonForConditionalGeneration
from transformers.models.chameleon.processing_chameleon import ChameleonProcessor
from transformers.models.emu3.configuration_emu3 import Emu3Config
from transformers.models.emu3.image_processing_emu3 import Emu3ImageProcessor
from transformers.models.emu3.modeling_emu3 import Emu3ForConditionalGeneration
from transformers.models.emu3.processing_emu3 import Emu3Processor
from transformers.models.janus.configuration_janus import JanusConfig
from transformers.models.janus.image_processing_janus import JanusImageProcessor
from transformers.models.janus.modeling_janus import JanusForConditionalGeneration
from transformers.models.janus.processing_janus import JanusProcessor
from transformers.tokenization_utils_tokenizers import PreTrainedTokenizerFast

from uae.seeds import derive_seed

IMAGE_SIZE = 32  # side of every picture in pixels
MAX_TOKENS = 512
_CODES = 16  # entries of each codebook of picture tokens
_TEXTS = (
    "Describe this image in detail, so that it can be painted again from your words alone.",
    "a photo of a red cat and a blue dog",
)
_LANGUAGE = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": MAX_TOKENS,
    "initializer_range": 0.5,  # at the usual 0.02 so small a model hardly heeds what it reads
}
_JANUS_CHAT = (
    "{% for message in messages %}<|User|>: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<image_placeholder>\n' }}"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{{ '\n\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<|Assistant|>:{% endif %}"
)
_EMU3_CHAT = (
    "{% for message in messages %}{% if message['role'] != 'system' %}"
    "{{ message['role'].upper() }}: {% endif %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %} "
    "{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def tiny_janus(folder: Path, seed: int = 0) -> Path:
    """Write a Janus with its processor; return the folder."""
    named = {"image": "<image_placeholder>", "boi": "<begin_of_image>", "eoi": "<end_of_image>"}
    tokenizer = _tokenizer({"bos": "<s>", "eos": "</s>", "pad": "<pad>"}, named, add_bos=True)
    side = IMAGE_SIZE // 8
    width = _LANGUAGE["hidden_size"]
    vision = {
        "image_size": IMAGE_SIZE,
        "patch_size": 8,
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "mlp_ratio": 2,
        "projection_dim": width,
        "num_image_tokens": side * side,
        "initializer_range": 0.5,
    }
    codes = {
        "embed_dim": 8,
        "num_embeddings": _CODES,
        "latent_channels": 32,
        "base_channels": 32,  # group norm has 32 groups
        "channel_multiplier": [1, 1, 1, 1],
        "num_res_blocks": 1,
        "projection_dim": width,
        "image_token_embed_dim": width,
        "initializer_range": 0.5,
    }
    text = {"model_type": "llama", "vocab_size": len(tokenizer)} | _LANGUAGE | _ids(tokenizer)
    config = JanusConfig(
        text_config=text,
        vision_config=vision,
        vq_config=codes,
        image_token_id=tokenizer.image_token_id,
        tie_word_embeddings=False,
    )
    size = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    images = JanusImageProcessor(size=size, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    processor = JanusProcessor(
        images,
        tokenizer,
        chat_template=_JANUS_CHAT,
        use_default_system_prompt=True,
        num_image_tokens=side * side,
    )
    return _write(folder, JanusForConditionalGeneration, config, processor, seed)


def tiny_emu3(folder: Path, seed: int = 0) -> Path:
    """Write an Emu3 with its processor; return the folder."""
    named = {
        "image": "<image>",
        "boi": "<|image start|>",
        "eoi": "<|image end|>",
        "image_wrapper": "<|image token|>",
        "eof": "<|extra_201|>",
    }
    visual = [f"<|visual token {index:06d}|>" for index in range(_CODES)]
    ends = {"bos": "<|extra_203|>", "eos": "<|extra_204|>", "pad": "<|endoftext|>"}
    tokenizer = _tokenizer(ends, named, ["<|extra_200|>", *visual])
    codes = {
        "codebook_size": _CODES,
        "embed_dim": 4,
        "latent_channels": 4,
        "base_channels": 32,
        "hidden_size": 32,
        "channel_multiplier": [1, 1, 1, 1],  # 8 pixels a token
        "num_res_blocks": 1,
    }
    config = Emu3Config(
        text_config={"vocab_size": len(tokenizer)} | _LANGUAGE | _ids(tokenizer),
        vq_config=codes,
        vocabulary_map=tokenizer.get_vocab(),
    )
    area = IMAGE_SIZE**2
    processor = Emu3Processor(
        Emu3ImageProcessor(min_pixels=area, max_pixels=area), tokenizer, chat_template=_EMU3_CHAT
    )
    return _write(folder, Emu3ForConditionalGeneration, config, processor, seed)


def tiny_chameleon(folder: Path, seed: int = 0) -> Path:
    """Write a Chameleon with its processor; return the folder."""
    named = {"image": "<image>", "boi": "<racm3:break>", "eoi": "<eoss>", "sep": "<reserved08706>"}
    # Chameleon spells a picture token's number with letters, A for 0.
    numbers = ["".join(chr(ord("A") + int(digit)) for digit in str(n)) for n in range(_CODES)]
    ends = {"bos": "<s>", "eos": "</s>", "pad": "<pad>"}
    tokenizer = _tokenizer(ends, named, [f"IMGIMG{number}Z" for number in numbers], add_bos=True)
    codes = {
        "resolution": IMAGE_SIZE,
        "embed_dim": 8,
        "num_embeddings": _CODES,
        "latent_channels": 32,
        "base_channels": 32,
        "channel_multiplier": [1, 1, 1, 1],
        "num_res_blocks": 1,
    }
    config = ChameleonConfig(
        vocab_size=len(tokenizer),
        vq_config=codes,
        vocabulary_map=tokenizer.get_vocab(),
        **_LANGUAGE,
        **_ids(tokenizer),
    )
    crop = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    images = ChameleonImageProcessor(size={"shortest_edge": IMAGE_SIZE}, crop_size=crop)
    processor = ChameleonProcessor(images, tokenizer, image_seq_length=(IMAGE_SIZE // 8) ** 2)
    return _write(folder, ChameleonForConditionalGeneration, config, processor, seed)


def _tokenizer(
    ends: Mapping[str, str],
    named: Mapping[str, str],
    others: Iterable[str] = (),
    *,
    add_bos: bool = False,
) -> Any:
    """Learn a byte-level BPE of a few merges; special tokens are found under `<name>_token`."""
    specials = [*ends.values(), *named.values(), *others]
    learner = Tokenizer(BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    learner.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=300 + len(specials),
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in specials],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    learner.train_from_iterator(_TEXTS, trainer)
    if add_bos:
        bos = ends["bos"]
        learner.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, learner.token_to_id(bos))]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=learner,
        padding_side="left",
        extra_special_tokens={f"{name}_token": token for name, token in named.items()},
        **{f"{name}_token": token for name, token in ends.items()},
    )


def _ids(tokenizer: Any) -> dict[str, int]:
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    return {name: getattr(tokenizer, name) for name in names}


def _write(folder: Path, model_class: Any, config: Any, processor: Any, seed: int) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "tiny-native", config.model_type))
        model_class(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
