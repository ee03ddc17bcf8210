"""The starter detector: a small Mask2Former on a Swin backbone, trained on drawn scenes with masks.

GenEval's rules need classes, boxes, masks and scores; transformers' Mask2Former gives them through
its own post-processing, as the published evaluation's detector does.
"""

import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers.models.mask2former.configuration_mask2former import Mask2FormerConfig
from transformers.models.mask2former.image_processing_mask2former import Mask2FormerImageProcessor
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerForUniversalSegmentation,
)
from transformers.models.swin.configuration_swin import SwinConfig

from uae.base_weights.clip_batches import augment
from uae.base_weights.pixels import to_pixels
from uae.base_weights.trainer import TrainerSettings, load_trained, run_training
from uae.data.facts import SceneFacts
from uae.data.starter.scenes import Split, draw_scene_with_masks, sample_facts
from uae.data.starter.vocabulary import CLASSES, IMAGE_SIZE
from uae.evaluation.detector import instances
from uae.evaluation.geneval_rules import COUNTING_THRESHOLD, SCORE_THRESHOLD, Detection
from uae.seeds import derive_seed, make_generator

NAME = "detector"
SEED = 31
BATCH_SIZE = 16
STRIDES = (4, 8, 16)
SETTINGS = TrainerSettings(
    num_steps=6_000, learning_rate=1e-3, warmup_steps=200, ema_decay=0.995, bf16=False
)


class DetectorBatch(NamedTuple):
    """Scenes, and each one's object masks and classes."""

    images_BCHW: Tensor  # [0, 1]
    masks: list[Tensor]  # B of (objects, H, W) float
    classes: list[Tensor]  # B of (objects,)
    facts: list[SceneFacts]


def build_detector() -> Mask2FormerForUniversalSegmentation:
    """Return the untrained detector, initialised from the seed."""
    torch.manual_seed(SEED)
    backbone = SwinConfig(
        image_size=IMAGE_SIZE,
        patch_size=STRIDES[0],
        embed_dim=32,
        depths=[1, 1, 2],
        num_heads=[1, 2, 4],
        window_size=4,
        mlp_ratio=3.0,
        drop_path_rate=0.0,
        initializer_range=0.08,  # the usual 0.02 belongs to wider layers
        out_features=["stage1", "stage2", "stage3"],
    )
    config = Mask2FormerConfig(
        backbone_config=backbone,
        feature_size=64,
        mask_feature_size=64,
        hidden_dim=64,
        encoder_layers=1,
        encoder_feedforward_dim=128,
        decoder_layers=4,
        dim_feedforward=192,
        num_attention_heads=4,
        num_queries=12,
        train_num_points=400,
        feature_strides=list(STRIDES),
        common_stride=STRIDES[0],
        init_std=0.08,
        id2label=dict(enumerate(CLASSES)),
        label2id={name: index for index, name in enumerate(CLASSES)},
    )
    return Mask2FormerForUniversalSegmentation(config)


def draw_batch(seed: int, step: int, *, batch_size: int, split: Split = "train") -> DetectorBatch:
    """Draw scenes with masks."""
    rng = random.Random(derive_seed(seed, "detector-batch", split, step))
    facts = [sample_facts(rng, split=split) for _ in range(batch_size)]
    painted = [draw_scene_with_masks(truth) for truth in facts]
    return DetectorBatch(
        to_pixels(np.stack([np.asarray(image) for image, _ in painted])),
        [torch.from_numpy(masks).float() for _, masks in painted],
        [torch.tensor([CLASSES.index(o.name) for o in truth.objects]) for truth in facts],
        facts,
    )


def image_processor() -> Mask2FormerImageProcessor:
    """Return the processor that is shipped beside the detector: to 64 x 64, to [-1, 1]."""
    return Mask2FormerImageProcessor(
        size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
        size_divisor=STRIDES[-1],
        num_labels=len(CLASSES),
    )


def train(work: Path) -> None:
    """Train, or continue, the detector in `work`."""
    model = build_detector()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device)

    def loss_fn(step: int) -> Tensor:
        batch = draw_batch(SEED, step, batch_size=BATCH_SIZE)
        images = augment(batch.images_BCHW, make_generator(SEED, "detector-augment", step))
        torch.manual_seed(derive_seed(SEED, "detector-points", step))  # the loss samples points
        loss: Tensor = model(
            pixel_values=(images * 2 - 1).to(device),
            mask_labels=[masks.to(device) for masks in batch.masks],
            class_labels=[classes.to(device) for classes in batch.classes],
        ).loss
        return loss.sum()

    run_training(
        NAME,
        work / NAME,
        modules={"detector": model},
        loss_fn=loss_fn,
        settings=SETTINGS,
        checkpoint_every=250,
        validate=lambda: measure(model, num_scenes=96),
    )


@torch.no_grad()
def measure(
    model: Mask2FormerForUniversalSegmentation, *, num_scenes: int = 300, seed: int = 0
) -> dict[str, float]:
    """Return precision, recall and count accuracy on held-out scenes, by GenEval's thresholds.

    A detection is right if its class is an object's and its mask overlaps that object's by half
    (intersection over union), each object once.
    """
    device = next(model.parameters()).device
    batch = draw_batch(seed, 0, batch_size=num_scenes, split="heldout")
    found = right = total = 0
    counted = {SCORE_THRESHOLD: 0, COUNTING_THRESHOLD: 0}
    overlaps: list[float] = []
    for index, facts in enumerate(batch.facts):
        pixels = batch.images_BCHW[index : index + 1] * 2 - 1
        output = model(pixel_values=pixels.to(device))
        detections = instances(
            output.class_queries_logits[0],
            output.masks_queries_logits[0],
            CLASSES,
            size=(IMAGE_SIZE, IMAGE_SIZE),
        )
        matched = _matched_overlaps(detections, batch.masks[index].bool().numpy(), facts)
        found, right, total = (
            found + len(detections), right + len(matched), total + len(facts.objects)
        )  # fmt: skip
        overlaps += matched
        for threshold in counted:
            counted[threshold] += _counts_right(detections, facts, threshold)
    return {
        "precision": right / max(found, 1),
        "recall": right / total,
        "mean_overlap": float(np.mean(overlaps)) if overlaps else 0.0,
    } | {f"counts_right_{t}": number / num_scenes for t, number in counted.items()}


def _matched_overlaps(
    detections: Sequence[Detection], masks_OHW: NDArray[np.bool_], facts: SceneFacts
) -> list[float]:
    left = list(range(len(facts.objects)))
    overlaps = []
    for detection in sorted(detections, key=lambda d: -d.score):
        assert detection.mask is not None
        for o in left:
            both = (detection.mask & masks_OHW[o]).sum()
            overlap = float(both / (detection.mask | masks_OHW[o]).sum())
            if detection.name == facts.objects[o].name and overlap > 0.5:
                overlaps.append(overlap)
                left.remove(o)
                break
    return overlaps


def _counts_right(detections: Sequence[Detection], facts: SceneFacts, threshold: float) -> bool:
    seen = sorted(d.name for d in detections if d.score > threshold)
    return seen == sorted(thing.name for thing in facts.objects)


def publish(work: Path, weights: Path) -> dict[str, float]:
    """Write the latest checkpoint in 16 bit to `weights`/detector; return its held-out figures."""
    model = build_detector()
    load_trained(work / NAME, {"detector": model})
    model.half().eval()
    out, partial = weights / NAME, weights / f"{NAME}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial)
    image_processor().save_pretrained(partial)
    figures = measure(model.float())
    (partial / "metrics.json").write_text(json.dumps(figures, indent=2), encoding="utf-8")
    shutil.rmtree(out, ignore_errors=True)
    partial.rename(out)
    return figures
