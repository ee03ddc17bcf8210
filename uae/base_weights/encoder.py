"""The starter encoder: transformers' Qwen2.5-VL, first taught to see, then to be terse.

Phase 1 (`see`): image -> complete caption, so that everything can be read off the picture; and, on
text alone in the "generate" turn, the language-model loss plus the recognition of each token from
its own last hidden state. Without that last part a small causal model forgets in its last layer
what the decoder is to be told.
Phase 2 (`phrases`): the same, and each hidden state also tells the tokens of its phrase so far.
SD3's transformer gives text no positions: that "red" belongs to "top left" it can only learn from
hidden states that say both, which large models have from their training and small ones have not.
Phase 3 (`terse`): image -> captions as people write them, of which most leave out most
attributes. What the model can see it still sees; it has learnt not to say it.
"""

import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLForConditionalGeneration

from uae.base_weights.measure import measure_captions
from uae.base_weights.pixels import batch_indices, to_pixels
from uae.base_weights.scenes_pool import scene_pool
from uae.base_weights.trainer import TrainerSettings, load_trained, run_training
from uae.data.facts import SceneFacts
from uae.data.starter.captions import complete_caption, terse_caption
from uae.models.encoder import CAPTION_PROMPT, GENERATE_ROLE, Encoder
from uae.models.image_processor import ImageProcessor
from uae.models.tokenizer import SPECIAL_TOKENS, train_tokenizer
from uae.seeds import derive_seed

SEED = 21
BATCH_SIZE = 32
TEXT_BATCH_SIZE = 16
POOL_SIZE = 60_000
VOCAB_SIZE = 640
COMPLETE_SHARE = 0.05  # of captions in phase 2: rare enough that greedy decoding is terse
WIDTH = 160
SEE = TrainerSettings(
    num_steps=1_600,
    learning_rate=1.2e-3,
    warmup_steps=100,
    final_learning_rate=1e-4,
    ema_decay=0.997,
    bf16=False,
)
PHRASES = replace(SEE, num_steps=400, learning_rate=5e-4, warmup_steps=20, ema_decay=0.99)
TERSE = replace(SEE, num_steps=300, learning_rate=3e-4, warmup_steps=20, ema_decay=0.99)

PHRASE_END = ","
PHRASE_WEIGHT = 0.1  # of a binary cross-entropy summed over the vocabulary

CaptionWriter = Callable[[SceneFacts, random.Random], str]


def build_encoder() -> Encoder:
    """Return the untrained encoder with its tokenizer, initialised from the seed."""
    tokenizer = train_tokenizer(_tokenizer_texts(), VOCAB_SIZE)
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in SPECIAL_TOKENS}
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": VOCAB_SIZE,
            "hidden_size": WIDTH,
            "intermediate_size": 448,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 512,
            "tie_word_embeddings": True,
            "bos_token_id": ids["<|endoftext|>"],
            "eos_token_id": ids["<|im_end|>"],
            "pad_token_id": ids["<|endoftext|>"],
            "rope_scaling": {"type": "mrope", "mrope_section": [4, 8, 8]},
        },
        vision_config={
            "depth": 4,
            "hidden_size": 128,
            "intermediate_size": 256,
            "num_heads": 4,
            "patch_size": 8,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "window_size": 64,
            "fullatt_block_indexes": [1, 3],
            "out_hidden_size": WIDTH,
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )
    torch.manual_seed(SEED)
    model = Qwen2_5_VLForConditionalGeneration(config)
    processor = ImageProcessor(8, 2, 2, 16 * 16, 128 * 128, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    return Encoder(model, tokenizer, processor)


def caption_loss(encoder: Encoder, images_BCHW: Tensor, captions: list[str]) -> Tensor:
    """Return the mean cross-entropy of captions, end of turn included, given their images."""
    ids_BL, mask_BL = token_batch(encoder, captions)
    prompts = encoder.caption_prompt(images_BCHW)
    state = encoder.read_prompts(prompts, encoder.image_features(prompts))
    later = encoder.read_tokens(state.cache, ids_BL[:, :-1], state.next_position)
    logits = encoder.logits(torch.cat([state.last_hidden_PD[:, None], later], dim=1))
    losses = functional.cross_entropy(logits.transpose(1, 2), ids_BL, reduction="none")
    return (losses * mask_BL).sum() / mask_BL.sum()


class Recognizers(nn.Module):
    """Linear heads on hidden states, thrown away after training."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Linear(WIDTH, VOCAB_SIZE)
        self.phrase = nn.Linear(WIDTH, VOCAB_SIZE)


def reading_loss(
    encoder: Encoder, recognizers: Recognizers, captions: list[str], *, phrases: bool
) -> Tensor:
    """Return the loss of captions read without an image.

    Next-token + own-token cross-entropy, and with `phrases` the binary cross-entropy of the
    tokens that the phrase holds so far.
    """
    hidden_BTD, _ = encoder.hidden_states(captions)
    prefix = encoder.num_prefix_tokens
    ids_BL, told_BL = token_batch(encoder, captions)
    ids_BL, told_BL = ids_BL[:, :-1], told_BL[:, 1:]  # without the end of turn
    own = hidden_BTD[:, prefix : prefix + ids_BL.shape[1]]
    before = hidden_BTD[:, prefix - 1 : prefix - 1 + ids_BL.shape[1]]
    total = torch.zeros((), device=own.device)
    for logits in (encoder.logits(before), recognizers.token(own).float()):
        losses = functional.cross_entropy(logits.transpose(1, 2), ids_BL, reduction="none")
        total = total + (losses * told_BL).sum() / told_BL.sum()
    if phrases:
        comma = encoder.tokenizer.convert_tokens_to_ids(PHRASE_END)
        losses = functional.binary_cross_entropy_with_logits(
            recognizers.phrase(own).float(), phrases_so_far(ids_BL, comma), reduction="none"
        ).sum(-1)
        total = total + PHRASE_WEIGHT * (losses * told_BL).sum() / told_BL.sum()
    return total


def phrases_so_far(ids_BL: Tensor, end: int) -> Tensor:
    """Return (B, L, vocabulary): 1 for each token since the last `end`, up to and with its own."""
    own_BLV = functional.one_hot(ids_BL, VOCAB_SIZE)
    counts_BLV = own_BLV.cumsum(1)
    ends_BL = ids_BL == end
    # What had been counted when the phrase began: the counts at the last end, 0 before any.
    begun_BLV = torch.where(ends_BL[..., None], counts_BLV, 0).cummax(1).values
    return ((counts_BLV - begun_BLV > 0) | (own_BLV > 0)).float()


def token_batch(encoder: Encoder, captions: list[str]) -> tuple[Tensor, Tensor]:
    """Return captions' tokens with the end of turn (B, L), padded on the right, and the mask."""
    eos = encoder.tokenizer.eos_token_id
    rows = [[*encoder.tokenizer(c, add_special_tokens=False).input_ids, eos] for c in captions]
    length = max(map(len, rows))
    ids = torch.full((len(rows), length), eos)
    mask = torch.zeros(ids.shape)
    for row, tokens in enumerate(rows):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        mask[row, : len(tokens)] = 1
    return ids, mask


def train(work: Path) -> Encoder:
    """Train, or continue, the three phases in `work`."""
    encoder = build_encoder()
    recognizers = Recognizers()
    modules = {"encoder": encoder.model, "recognizers": recognizers}
    images, facts = scene_pool(POOL_SIZE, SEED)
    see: CaptionWriter = lambda f, _: complete_caption(f)  # noqa: E731
    for name, settings, write in (
        ("see", SEE, see),
        ("phrases", PHRASES, see),
        ("terse", TERSE, _ordinary_caption),
    ):
        run_training(
            f"encoder/{name}",
            work / "encoder" / name,
            modules=modules,
            loss_fn=_loss_fn(name, encoder, recognizers, images, facts, write),
            settings=settings,
            checkpoint_every=200,
            validate=partial(_validate, encoder, write),
        )
    return encoder


def load(work: Path, phase: str = "terse") -> Encoder:
    """Return the encoder of a phase's latest checkpoint."""
    encoder = build_encoder()
    load_trained(work / "encoder" / phase, {"encoder": encoder.model})
    encoder.model.eval().requires_grad_(False)
    return encoder


def _loss_fn(
    name: str,
    encoder: Encoder,
    recognizers: Recognizers,
    images: NDArray[np.uint8],
    facts: list[SceneFacts],
    write: CaptionWriter,
) -> Callable[[int], Tensor]:
    def loss_fn(step: int) -> Tensor:
        rng = random.Random(derive_seed(SEED, name, step, "captions"))
        indices, _ = batch_indices(SEED, name, step, len(images), BATCH_SIZE)
        captions = [write(facts[i], rng) for i in indices]
        seen = caption_loss(encoder, to_pixels(images[indices]), captions)
        read = [facts[i] for i in rng.sample(range(len(facts)), TEXT_BATCH_SIZE)]
        texts = [
            complete_caption(f, rng) if rng.random() < 0.7 else terse_caption(f, rng) for f in read
        ]
        phrases = name != "see"
        return seen + 0.5 * reading_loss(encoder, recognizers, texts, phrases=phrases)

    return loss_fn


def _ordinary_caption(facts: SceneFacts, rng: random.Random) -> str:
    if rng.random() < COMPLETE_SHARE:
        return complete_caption(facts)
    return terse_caption(facts, rng)


def _validate(encoder: Encoder, write: CaptionWriter) -> dict[str, float]:
    images, facts = scene_pool(128, SEED, split="heldout")
    rng = random.Random(SEED)
    captions = [write(f, rng) for f in facts]
    return {"heldout/loss": caption_loss(encoder, to_pixels(images), captions).item()}


def _tokenizer_texts() -> list[str]:
    rng = random.Random(SEED)
    _, facts = scene_pool(4_000, SEED + 1)
    texts = [CAPTION_PROMPT, GENERATE_ROLE, "user", "assistant"] * 50
    for truth in facts:
        texts += [complete_caption(truth, rng), terse_caption(truth, rng)]
    return texts


def measure(work: Path) -> dict[str, dict[str, float]]:
    """Return what the encoder says, and what it could say before it learnt to be terse."""
    return {
        phase: measure_captions(load(work, phase), num_scenes=200) for phase in ("see", "terse")
    }
