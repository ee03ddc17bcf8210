"""What is left to gain: how alike pictures and drawings are when captions or decoder are perfect.

    python -m benchmarks.room runs/RUN_ID/model

Draws fresh scenes that no model has seen, and prints the mean cosine (x 100) of each scorer between
the pictures and: drawings from the model's own captions; drawings from true and complete captions;
and what the VAE alone gives back. The first gap is the captioner's, the second the decoder's.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from uae.base_weights.pixels import to_pixels
from uae.base_weights.scenes_pool import scene_pool
from uae.data.starter.captions import complete_caption
from uae.data.starter.vocabulary import STARTER_WEIGHTS
from uae.models.autoencoder import AutoEncoder
from uae.recipe_files import load_recipe
from uae.rewards.reconstruction import load_scorer
from uae.seeds import make_generator

SEED = 991
NUM_SCENES = 200
BATCH = 50
SCORERS = ("clip", "longclip")


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path, help="exported model or bundle")
    evaluation = load_recipe("starter").evaluation
    model = AutoEncoder.load(parser.parse_args().model)
    pictures, facts = scene_pool(NUM_SCENES, SEED, split="heldout")
    images = to_pixels(pictures)

    def draw(captions: Sequence[str], start: int) -> Tensor:
        noise = make_generator(SEED, "noise", start)
        return model.generate(captions, generator=noise, sampler=evaluation.sampler)

    ways: dict[str, Callable[[int], Tensor]] = {
        "own captions": lambda i: draw(
            model.caption(images[i : i + BATCH], max_new_tokens=evaluation.max_new_tokens), i
        ),
        "true captions": lambda i: draw([complete_caption(f) for f in facts[i : i + BATCH]], i),
        "VAE alone": lambda i: model.decoder.decode_latents(
            model.decoder.encode_images(images[i : i + BATCH])
        ).clamp(0, 1),
    }
    scorers = {name: load_scorer(name, STARTER_WEIGHTS) for name in SCORERS}
    for way, give_back in ways.items():
        given = torch.cat([give_back(i) for i in range(0, NUM_SCENES, BATCH)])
        scores = {n: s.score(given, s.features(images)).mean() * 100 for n, s in scorers.items()}
        print(f"{way:14}", "  ".join(f"{name} {score:.2f}" for name, score in scores.items()))


if __name__ == "__main__":
    main()
