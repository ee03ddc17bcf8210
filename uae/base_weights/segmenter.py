"""The starter detector: a small SegFormer, trained on drawn scenes with their masks.

It learns in minutes on a CPU what a Mask2Former of this size needs hours for. Objects of the
starter domain do not touch, so connected regions of its class map are instances.
"""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, interpolate
from transformers.models.segformer.configuration_segformer import SegformerConfig
from transformers.models.segformer.image_processing_segformer import SegformerImageProcessor
from transformers.models.segformer.modeling_segformer import SegformerForSemanticSegmentation

from uae.base_weights.clip_batches import augment
from uae.base_weights.pixels import to_pixels
from uae.base_weights.trainer import TrainerSettings, load_trained, run_training
from uae.data.facts import SceneFacts
from uae.data.starter.scenes import Split, draw_scene_with_masks, sample_facts
from uae.data.starter.vocabulary import CLASSES, IMAGE_SIZE
from uae.replacement import replaced_atomically
from uae.seeds import derive_seed, make_generator

NAME = "detector"
SEED = 61
BATCH_SIZE = 32
BACKGROUND = len(CLASSES)
SETTINGS = TrainerSettings(
    num_steps=900, learning_rate=2e-3, warmup_steps=50, ema_decay=0.99, bf16=False
)


def build_segmenter() -> SegformerForSemanticSegmentation:
    """Return the untrained model, initialised from the seed."""
    torch.manual_seed(SEED)
    names = dict(enumerate((*CLASSES, "background")))
    return SegformerForSemanticSegmentation(
        SegformerConfig(
            hidden_sizes=[24, 48, 96, 128],
            depths=[1, 1, 2, 1],
            num_attention_heads=[1, 2, 4, 4],
            sr_ratios=[8, 4, 2, 1],
            patch_sizes=[5, 3, 3, 3],
            strides=[2, 2, 2, 2],
            decoder_hidden_size=64,
            classifier_dropout_prob=0.0,
            drop_path_rate=0.0,
            id2label=names,
            label2id={name: index for index, name in names.items()},
        )
    )


def draw_batch(
    seed: int, step: int, *, batch_size: int, split: Split = "train"
) -> tuple[Tensor, Tensor, list[SceneFacts]]:
    """Draw scenes: pixels (B, 3, 64, 64) in [0, 1] and class maps (B, 64, 64)."""
    rng = random.Random(derive_seed(seed, "segmenter-batch", split, step))
    facts = [sample_facts(rng, split=split) for _ in range(batch_size)]
    images = np.empty((batch_size, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8)
    maps = np.full((batch_size, IMAGE_SIZE, IMAGE_SIZE), BACKGROUND, dtype=np.int64)
    for image, class_map, truth in zip(images, maps, facts, strict=True):
        painted, masks = draw_scene_with_masks(truth)
        image[:] = np.asarray(painted)
        for thing, mask in zip(truth.objects, masks, strict=True):
            class_map[mask] = CLASSES.index(thing.name)
    return to_pixels(images), torch.from_numpy(maps), facts


def train(work: Path) -> None:
    """Train, or continue, the segmenter in `work`."""
    model = build_segmenter()

    def loss_fn(step: int) -> Tensor:
        images, maps, _ = draw_batch(SEED, step, batch_size=BATCH_SIZE)
        images = augment(images, make_generator(SEED, "segmenter-augment", step))
        logits = model(pixel_values=images * 2 - 1).logits
        return cross_entropy(logits, maps[:, 1::2, 1::2])  # the logits have half the resolution

    run_training(
        NAME,
        work / "segmenter",
        modules={"segmenter": model},
        loss_fn=loss_fn,
        settings=SETTINGS,
        checkpoint_every=150,
        validate=lambda: {"heldout/pixels_right": _pixels_right(model)},
    )


@torch.no_grad()
def _pixels_right(model: Any) -> float:
    """Return the share of object pixels whose class is right on held-out scenes."""
    images, maps, _ = draw_batch(0, 0, batch_size=96, split="heldout")
    logits = interpolate(model(pixel_values=images * 2 - 1).logits, size=(IMAGE_SIZE,) * 2)
    things = maps != BACKGROUND
    return float((logits.argmax(1) == maps)[things].float().mean())


def publish(work: Path, weights: Path) -> dict[str, float]:
    """Write the latest checkpoint in 16 bit to `weights`/detector; return its held-out figures."""
    from uae.base_weights.detector_measures import measure_detector

    model = build_segmenter()
    load_trained(work / "segmenter", {"segmenter": model})
    processor = SegformerImageProcessor(
        size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    with replaced_atomically(weights / NAME) as out:
        model.half().eval().save_pretrained(out)
        processor.save_pretrained(out)
        figures = measure_detector(out)
        (out / "metrics.json").write_text(json.dumps(figures, indent=2), encoding="utf-8")
    return figures
