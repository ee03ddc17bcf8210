"""A tokenizer for a published vocabulary without its files: the shipped one, filled up.

A random model draws any token of its vocabulary. Were most of them suppressed, as rows that stand
for no token are, one in a few hundred would be the end of turn, and captions would end early. So
the vocabulary is filled up, with tokens that are written as one digit: a caption of n tokens is
read again as n tokens, whichever they are, as `uae plan` assumes.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from transformers.convert_slow_tokenizer import bytes_to_unicode
from transformers.models.qwen2.tokenization_qwen2 import Qwen2Tokenizer

from uae.models.bundle import STARTER_WEIGHTS

_FILES = ("tokenizer_config.json", "chat_template.jinja")
_FIRST, _BASE = 0x80, 64  # bytes that continue a character: alone they are none, and are left out


def write_tokenizer(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Write a tokenizer for an encoder, and return its configuration with this tokenizer's ids.

    Args:
        folder: The encoder's.
        config: Its configuration, which says how large the vocabulary is.
    """
    shipped = STARTER_WEIGHTS / "autoencoder" / "encoder"
    for name in _FILES:
        shutil.copyfile(shipped / name, folder / name)
    content = json.loads((shipped / "tokenizer.json").read_text("utf-8"))
    size = config["text_config"]["vocab_size"]
    vocabulary = content["model"]["vocab"]
    first = max(vocabulary.values()) + 1
    symbols = bytes_to_unicode()
    fillers = {_filler(number, symbols): first + number for number in range(size - first)}
    content["model"]["vocab"] = vocabulary | fillers
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    return _with_ids(config, Qwen2Tokenizer.from_pretrained(folder, local_files_only=True))


def _filler(number: int, symbols: dict[int, str]) -> str:
    """Return a digit and three bytes that make it another token than all others."""
    rest, places = number, []
    for _ in range(3):
        rest, place = divmod(rest, _BASE)
        places.append(_FIRST + place)
    return str(number % 10) + "".join(symbols[byte] for byte in places)


def _with_ids(config: dict[str, Any], tokenizer: Any) -> dict[str, Any]:
    token_id = tokenizer.convert_tokens_to_ids
    text = config["text_config"] | {
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    return config | {
        "text_config": text,
        "image_token_id": token_id("<|image_pad|>"),
        "video_token_id": token_id("<|video_pad|>"),
        "vision_start_token_id": token_id("<|vision_start|>"),
        "vision_end_token_id": token_id("<|vision_end|>"),
    }
