"""The small self-supervised scorer: a DINOv2-shaped ViT that never sees a caption or a label.

SimCLR: two views of a picture are to be closer than views of different pictures. The views differ
by a shift of up to 3 pixels, blur, noise and exposure, so that place, colour and size stay
meaningful; and many pictures in a batch are near misses of each other, so that details count.
The loss is taken on the CLS token itself (no projector), because its cosine is what is used.
"""

import json
import random
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers.models.bit.image_processing_bit import BitImageProcessor
from transformers.models.dinov2.configuration_dinov2 import Dinov2Config
from transformers.models.dinov2.modeling_dinov2 import Dinov2Model

from uae.base_weights.clip_batches import augment, near_misses
from uae.base_weights.pixels import to_pixels
from uae.base_weights.scenes_pool import scene_pool
from uae.base_weights.scorer_measures import cosine_by_changes, cosine_by_kind
from uae.base_weights.trainer import TrainerSettings, load_trained, run_training
from uae.data.facts import SceneFacts
from uae.data.starter.scenes import draw_scene
from uae.data.starter.vocabulary import IMAGE_SIZE
from uae.replacement import replaced_atomically
from uae.seeds import derive_seed, make_generator

NAME = "ssl"
SEED = 41
POOL_SIZE = 30_000
NUM_GROUPS, GROUP_SIZE, NUM_UNRELATED = 12, 4, 32  # pictures in a batch; each gives two views
MAX_SHIFT_PIXELS = 3
TEMPERATURE = 0.1
SETTINGS = TrainerSettings(
    num_steps=400, learning_rate=1.5e-3, warmup_steps=50, ema_decay=0.99, bf16=False
)


def build_ssl() -> Dinov2Model:
    """Return the untrained ViT, initialised from the seed."""
    torch.manual_seed(SEED)
    config = Dinov2Config(
        image_size=IMAGE_SIZE,
        patch_size=8,
        hidden_size=88,
        num_hidden_layers=4,
        num_attention_heads=4,
        mlp_ratio=3,
        initializer_range=0.05,
        use_mask_token=False,
    )
    return Dinov2Model(config)


def draw_pictures(
    images: NDArray[np.uint8], facts: list[SceneFacts], seed: int, step: int
) -> Tensor:
    """Return the step's pictures (B, 3, 64, 64): groups of near misses, then unrelated ones."""
    rng = random.Random(derive_seed(seed, "ssl-batch", step))
    pixels: list[NDArray[np.uint8]] = []
    for _ in range(NUM_GROUPS):
        base = facts[rng.randrange(len(facts))]
        scenes = [base, *near_misses(base, GROUP_SIZE - 1, rng)]
        pixels += [np.asarray(draw_scene(scene)) for scene in scenes]
    pixels += [images[index] for index in rng.sample(range(len(facts)), NUM_UNRELATED)]
    return to_pixels(np.stack(pixels))


def view(images_BCHW: Tensor, generator: torch.Generator) -> Tensor:
    """Return the pictures shifted by whole pixels (edges repeated) and augmented."""
    span = MAX_SHIFT_PIXELS
    padded = functional.pad(images_BCHW, (span,) * 4, "replicate")
    offsets = torch.randint(2 * span + 1, (len(images_BCHW), 2), generator=generator).tolist()
    size = images_BCHW.shape[-1]
    shifted = [p[:, y : y + size, x : x + size] for p, (y, x) in zip(padded, offsets, strict=True)]
    return augment(torch.stack(shifted), generator)


def cls_features(model: Dinov2Model, images_BCHW: Tensor) -> Tensor:
    """Return the L2-normalised CLS tokens (B, D) of pixels in [0, 1]."""
    hidden = model(pixel_values=images_BCHW * 2 - 1).last_hidden_state
    return functional.normalize(hidden[:, 0].float(), dim=-1)


def simclr_loss(first_BD: Tensor, second_BD: Tensor) -> Tensor:
    """Cross entropy of finding each view's partner among all other views (NT-Xent)."""
    num = len(first_BD)
    views = torch.cat([first_BD, second_BD])
    logits = views @ views.T / TEMPERATURE
    logits.fill_diagonal_(-torch.inf)
    partners = torch.arange(2 * num, device=logits.device).roll(num)
    return functional.cross_entropy(logits, partners)


def train(work: Path) -> None:
    """Train, or continue, the scorer in `work`."""
    images, facts = scene_pool(POOL_SIZE, SEED)
    model = build_ssl()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device)

    def loss_fn(step: int) -> Tensor:
        pictures = draw_pictures(images, facts, SEED, step)
        generator = make_generator(SEED, "ssl-views", step)
        views = torch.cat([view(pictures, generator), view(pictures, generator)])
        return simclr_loss(*cls_features(model, views.to(device)).chunk(2))

    run_training(
        NAME,
        work / NAME,
        modules={"ssl": model},
        loss_fn=loss_fn,
        settings=SETTINGS,
        checkpoint_every=100,
    )


def publish(work: Path, weights: Path) -> dict[str, float]:
    """Write the latest checkpoint in 16 bit to `weights`/scorers/ssl; return its figures."""
    model = build_ssl()
    load_trained(work / NAME, {"ssl": model})
    processor = BitImageProcessor(
        size={"shortest_edge": IMAGE_SIZE},
        crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    with replaced_atomically(weights / "scorers" / NAME) as out:
        model.half().save_pretrained(out)
        processor.save_pretrained(out)
        model = Dinov2Model.from_pretrained(out, dtype=torch.float32).eval()
        figures = {
            **cosine_by_changes(lambda images: cls_features(model, images)),
            **cosine_by_kind(lambda images: cls_features(model, images)),
        }
        (out / "metrics.json").write_text(json.dumps(figures, indent=2), encoding="utf-8")
    return figures
