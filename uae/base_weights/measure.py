"""What the base weights can do, measured on compositions that none was trained on."""

import random

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uae.base_weights.pixels import to_pixels
from uae.base_weights.scenes_pool import scene_pool
from uae.data.facts import SceneFacts
from uae.data.starter.attributes import attribute_precision, attribute_recall, text_fidelity
from uae.data.starter.captions import complete_caption, terse_caption
from uae.data.starter.reader import attribute_accuracy
from uae.data.words import count_words
from uae.models.autoencoder import AutoEncoder
from uae.models.captioning import write_captions
from uae.models.encoder import Encoder
from uae.recipe import SamplerRecipe
from uae.seeds import make_generator

SEED = 41
SAMPLER = SamplerRecipe(num_steps=8, guidance_scale=1.0)
MAX_NEW_TOKENS = 48


def measure_captions(encoder: Encoder, *, num_scenes: int) -> dict[str, float]:
    """Return attribute recall and text fidelity of greedy and of sampled captions."""
    images, facts = scene_pool(num_scenes, SEED, split="heldout")
    figures: dict[str, float] = {}
    for mode, temperature in (("greedy", 0.0), ("sampled", 1.0)):
        captions = _write(encoder, to_pixels(images), temperature)
        figures |= {f"{mode}_{k}": v for k, v in caption_figures(captions, facts).items()}
    return figures


def _write(encoder: Encoder, images_BCHW: Tensor, temperature: float) -> list[str]:
    prompts = encoder.caption_prompt(images_BCHW)
    with torch.no_grad():
        features = encoder.image_features(prompts)
    return write_captions(
        encoder,
        prompts,
        features,
        group_size=1,
        max_new_tokens=MAX_NEW_TOKENS,
        temperature=temperature,
        generator=make_generator(SEED, "captions"),
    ).texts


def caption_figures(captions: list[str], facts: list[SceneFacts]) -> dict[str, float]:
    """Return the mean attribute recall, words, and text fidelity where there is a word."""
    pairs = list(zip(captions, facts, strict=True))
    fidelity = [score for c, f in pairs if (score := text_fidelity(c, f)) is not None]
    precision = [share for c, f in pairs if (share := attribute_precision(c, f)) is not None]
    return {
        "attribute_precision": float(np.mean(precision)),
        "attribute_recall": float(np.mean([attribute_recall(c, f) for c, f in pairs])),
        "words": float(np.mean([count_words(c) for c in captions])),
        "text_fidelity": float(np.mean(fidelity)),
    }


def measure_decoder(model: AutoEncoder, *, num_scenes: int) -> dict[str, dict[str, float]]:
    """Return attribute accuracy of pictures from complete and from terse captions.

    "one_or_two" has at most two objects in a scene, "up_to_four" the domain's usual mix.
    """
    figures: dict[str, dict[str, float]] = {}
    for mix, max_objects in (("one_or_two", 2), ("up_to_four", 4)):
        _, facts = scene_pool(num_scenes, SEED, split="heldout", max_objects=max_objects)
        rng = random.Random(SEED)
        captions = {
            "complete": [complete_caption(f) for f in facts],
            "terse": [terse_caption(f, rng) for f in facts],
        }
        for kind, texts in captions.items():
            figures[f"{mix}/{kind}"] = attribute_accuracy(draw(model, texts), facts)
    return figures


@torch.no_grad()
def draw(model: AutoEncoder, captions: list[str]) -> NDArray[np.uint8]:
    """Return a picture for each caption, (B, 64, 64, 3)."""
    images = []
    for start in range(0, len(captions), 64):
        part = captions[start : start + 64]
        generator = make_generator(SEED, "noise", start)
        images.append(model.generate(part, generator=generator, sampler=SAMPLER))
    pixels = (torch.cat(images).permute(0, 2, 3, 1) * 255).round()
    return pixels.to(torch.uint8).numpy()
