"""The two small CLIPs of the starter recipe: `clip`, which is the reward, and `longclip`, held out.

Both are open_clip models trained with the symmetric contrastive loss. Two things are added to it,
because half a million parameters have minutes, not weeks: heads that read the scene's attributes
off the image embedding (thrown away afterwards), and batches with near misses (`clip_batches`).
`longclip` has another seed, another shape, a longer context, and reads complete captions only.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.model import CLIP
from safetensors.torch import save_file
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from torch import Tensor, nn
from torch.nn import functional
from transformers.tokenization_utils_fast import PreTrainedTokenizerFast

from uae.base_weights.clip_batches import (
    ABSENT,
    CROP_TEMPLATES,
    SLOT_SIZES,
    BatchMix,
    ClipBatch,
    draw_batch,
)
from uae.base_weights.scenes_pool import scene_pool
from uae.base_weights.scorer_measures import (
    cosine_by_changes,
    cosine_by_kind,
    retrieval,
    zero_shot_color,
)
from uae.base_weights.trainer import TrainerSettings, load_trained, run_training
from uae.data.facts import SceneFacts
from uae.data.starter.captions import complete_caption
from uae.data.starter.vocabulary import CLASSES, COLORS, IMAGE_SIZE, NUMBERS, PLURALS
from uae.evaluation.pictures import to_pixels as to_bytes
from uae.evaluation.unified_bench.scorers import EFFICIENTNET, load_scorer_slot
from uae.replacement import replaced_atomically

POOL_SIZE = 30_000
MAX_LOGIT_SCALE = 100.0
PAD, START, END = "<pad>", "<start_of_text>", "<end_of_text>"


@dataclass(frozen=True)
class ClipSettings:
    """One CLIP: its shape, its batches, its training."""

    seed: int
    vision: dict[str, Any]
    text: dict[str, Any]
    embed_dim: int
    mix: BatchMix
    training: TrainerSettings


CLIPS = {
    "clip": ClipSettings(
        seed=21,
        vision={"width": 96, "layers": 4, "mlp_ratio": 2.5, "head_width": 32},
        text={"context_length": 48, "width": 64, "heads": 2, "layers": 2},
        embed_dim=96,
        mix=BatchMix(num_groups=10, group_size=4, num_unrelated=64, num_crops=24, terse_share=0.4),
        training=TrainerSettings(num_steps=1_500, learning_rate=2e-3, ema_decay=0.99, bf16=False),
    ),
    "longclip": ClipSettings(
        seed=22,
        vision={"width": 80, "layers": 5, "mlp_ratio": 3.0, "head_width": 20},
        text={"context_length": 64, "width": 64, "heads": 4, "layers": 2},
        embed_dim=80,
        mix=BatchMix(num_groups=16, group_size=3, num_unrelated=64, num_crops=8, terse_share=0.0),
        training=TrainerSettings(num_steps=600, learning_rate=2e-3, ema_decay=0.99, bf16=False),
    ),
}


class AttributeHeads(nn.Module):
    """Linear readers of the image embedding, used in training only."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.slots = nn.Linear(embed_dim, sum(SLOT_SIZES))
        self.crops = nn.Linear(embed_dim, len(CLASSES) + len(COLORS))

    def loss(self, features_BD: Tensor, batch: ClipBatch) -> Tensor:
        """Return the mean cross entropy over attributes."""
        num_scenes = len(batch.slots_SA)
        logits = self.slots(features_BD[:num_scenes]).float().split(SLOT_SIZES, dim=1)
        labels = batch.slots_SA.to(features_BD.device)
        losses = [
            functional.cross_entropy(part, labels[:, a], ignore_index=ABSENT, reduction="sum")
            for a, part in enumerate(logits)
        ]
        total = torch.stack(losses).sum() / (labels != ABSENT).sum()
        crops = self.crops(features_BD[num_scenes:]).float().split((len(CLASSES), len(COLORS)), 1)
        crop_labels = batch.crop_labels_K2.to(features_BD.device)
        for part, label in zip(crops, crop_labels.unbind(1), strict=True):
            total = total + 0.25 * functional.cross_entropy(part, label)
        return total


def build_tokenizer(facts: Sequence[SceneFacts], context_length: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE on the domain's captions; ids of pad, start and end are 0, 1, 2."""
    lines = [complete_caption(scene) for scene in facts]
    lines += [t.format(color=c, name=n) for t in CROP_TEMPLATES for c in COLORS for n in CLASSES]
    lines += [f"{number} {name}" for number in NUMBERS.values() for name in PLURALS.values()]
    bpe = Tokenizer(models.BPE())
    bpe.normalizer = normalizers.Lowercase()
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=768,
        special_tokens=[PAD, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(lines, trainer)
    bpe.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, 1), (END, 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=PAD,
        bos_token=START,
        eos_token=END,
        model_max_length=context_length,
    )


def model_config(settings: ClipSettings, vocab_size: int) -> dict[str, Any]:
    """Return open_clip's `model_cfg`."""
    return {
        "embed_dim": settings.embed_dim,
        "vision_cfg": settings.vision | {"image_size": IMAGE_SIZE, "patch_size": 8},
        "text_cfg": settings.text
        | {"vocab_size": vocab_size, "pool_type": "eos", "eos_id": 2, "pad_id": 0}
        | {"hf_tokenizer_name": "local", "tokenizer_kwargs": {"local_files_only": True}},
    }


def contrastive_loss(
    image_features_BD: Tensor, text_features_BD: Tensor, logit_scale: Tensor, truth_BB: Tensor
) -> Tensor:
    """Symmetric cross entropy where a row's target is spread over all its true columns."""
    logits = logit_scale * image_features_BD @ text_features_BD.T
    truth = truth_BB.to(logits)
    by_image = -(logits.log_softmax(1) * truth / truth.sum(1, keepdim=True)).sum(1).mean()
    by_text = -(logits.log_softmax(0) * truth / truth.sum(0, keepdim=True)).sum(0).mean()
    return (by_image + by_text) / 2


def clip_loss(model: CLIP, heads: AttributeHeads, batch: ClipBatch, tokens_BT: Tensor) -> Tensor:
    """Contrastive loss of scenes and of crops, and the attribute heads' loss."""
    images = normalize(batch.images_BCHW).to(tokens_BT.device)
    image_features = functional.normalize(model.encode_image(images).float(), dim=-1)
    text_features = functional.normalize(model.encode_text(tokens_BT).float(), dim=-1)
    scale = model.logit_scale.exp().clamp(max=MAX_LOGIT_SCALE)
    num_scenes = len(batch.slots_SA)
    same = torch.eye(num_scenes, device=tokens_BT.device)
    scenes = contrastive_loss(image_features[:num_scenes], text_features[:num_scenes], scale, same)
    crops = contrastive_loss(
        image_features[num_scenes:], text_features[num_scenes:], scale, batch.truth_KK
    )
    attributes = heads.loss(image_features * math.sqrt(image_features.shape[1]), batch)
    return scenes + 0.5 * crops + attributes


def normalize(images_BCHW: Tensor) -> Tensor:
    """Return pixels in [0, 1] as the model takes them: mean and std are one half."""
    return images_BCHW * 2 - 1


def _build(name: str, facts: Sequence[SceneFacts]) -> tuple[CLIP, PreTrainedTokenizerFast]:
    settings = CLIPS[name]
    tokenizer = build_tokenizer(facts[:5_000], settings.text["context_length"])
    config = model_config(settings, len(tokenizer))
    torch.manual_seed(settings.seed)
    return CLIP(settings.embed_dim, config["vision_cfg"], config["text_cfg"]), tokenizer


def tokenize(tokenizer: Any, texts: Sequence[str], context_length: int) -> Tensor:
    """Return ids (B, context_length) as open_clip's tokenizer wrapper does."""
    padded = tokenizer(
        list(texts),
        max_length=context_length,
        padding="max_length",
        truncation=True,
        return_tensors="pt",
    )
    ids: Tensor = padded["input_ids"]
    return ids


def train_clip(name: str, work: Path) -> None:
    """Train, or continue, one of `CLIPS` in `work`/name."""
    settings = CLIPS[name]
    images, facts = scene_pool(POOL_SIZE, settings.seed)
    model, tokenizer = _build(name, facts)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device)
    heads = AttributeHeads(settings.embed_dim).to(device)

    def loss_fn(step: int) -> Tensor:
        batch = draw_batch(settings.mix, images, facts, settings.seed, step)
        tokens = tokenize(tokenizer, batch.texts, settings.text["context_length"])
        return clip_loss(model, heads, batch, tokens.to(device))

    run_training(
        name,
        work / name,
        modules={"clip": model, "heads": heads},
        loss_fn=loss_fn,
        settings=settings.training,
        checkpoint_every=100,
    )


def publish(name: str, work: Path, weights: Path) -> dict[str, float]:
    """Write the latest checkpoint to `weights`/scorers/name; return its held-out figures.

    The layout is open_clip's local-dir, in 16 bit; the figures are measured on the written files.
    """
    settings = CLIPS[name]
    _, facts = scene_pool(POOL_SIZE, settings.seed)
    model, tokenizer = _build(name, facts)
    load_trained(work / name, {"clip": model, "heads": AttributeHeads(settings.embed_dim)})
    halves = {key: value.half().contiguous() for key, value in model.state_dict().items()}
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3}
    config = {"model_cfg": model_config(settings, len(tokenizer)), "preprocess_cfg": preprocess}
    with replaced_atomically(weights / "scorers" / name) as out:
        tokenizer.save_pretrained(out)
        save_file(halves, out / "open_clip_model.safetensors")
        (out / "open_clip_config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
        figures = measure_clip(out)
        (out / "metrics.json").write_text(json.dumps(figures, indent=2), encoding="utf-8")
    return figures


def measure_clip(folder: Path) -> dict[str, float]:
    """Return what a published CLIP can tell apart on held-out compositions."""
    model = open_clip.create_model(f"local-dir:{folder}").eval()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")

    def features(images_BCHW: Tensor) -> Tensor:
        encoded: Tensor = model.encode_image(normalize(images_BCHW), normalize=True)
        return encoded

    def text_features(texts: Sequence[str]) -> Tensor:
        encoded: Tensor = model.encode_text(tokenizer(list(texts)), normalize=True)
        return encoded

    return {
        **cosine_by_changes(features),
        **cosine_by_kind(features),
        **retrieval(features, text_features),
        **zero_shot_color(features, text_features),
    }


def publish_pretrained_figures(weights: Path) -> dict[str, float]:
    """Write what the ImageNet scorer, which is not trained here, can tell apart; return it."""
    scorer = load_scorer_slot(EFFICIENTNET, weights)

    def features(images_BCHW: Tensor) -> Tensor:
        return scorer.features(to_bytes(images_BCHW), batch_size=50)

    figures = {  # pictures enlarged to 224 take long
        **cosine_by_changes(features, num_scenes=60),
        **cosine_by_kind(features, num_scenes=40),
    }
    path = weights / "scorers" / f"{EFFICIENTNET}.metrics.json"
    path.write_text(json.dumps(figures, indent=2), encoding="utf-8")
    return figures
