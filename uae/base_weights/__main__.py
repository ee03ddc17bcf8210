"""`python -m uae.base_weights`: train every base weight and publish them; resumable.

Models go one after another in the order in which they need each other. Each continues from its
latest checkpoint, and one that is complete only publishes again.
"""

import json
from pathlib import Path
from typing import Any

import torch

from uae.base_weights import card, decoder, encoder, judge, scorers, segmenter, ssl, vae
from uae.data.starter.vocabulary import STARTER_WEIGHTS
from uae.evaluation.unified_bench.scorers import EFFICIENTNET

WORK = Path("base-weights-work")
NUM_THREADS = 2


def main() -> None:
    """Train, measure, publish, and write the card."""
    torch.set_num_threads(NUM_THREADS)
    vae.train(WORK)
    encoder.train(WORK)
    decoder.train(WORK)
    figures: dict[str, Any] = {"autoencoder": publish_autoencoder(WORK, STARTER_WEIGHTS)}
    for name in ("clip", "longclip"):
        scorers.train_clip(name, WORK)
        figures[name] = scorers.publish(name, WORK, STARTER_WEIGHTS)
    for module in (ssl, segmenter, judge):
        module.train(WORK)
        figures[module.NAME] = module.publish(WORK, STARTER_WEIGHTS)
    figures[EFFICIENTNET] = scorers.publish_pretrained_figures(STARTER_WEIGHTS)
    card.write(STARTER_WEIGHTS)
    print(json.dumps(figures, indent=2))


def publish_autoencoder(work: Path, weights: Path) -> dict[str, Any]:
    """Write the bundle, and beside it what its parts can do."""
    bundle = weights / "autoencoder"
    figures: dict[str, Any] = {"decoder": decoder.publish(work, bundle)}
    figures["encoder"] = encoder.measure(work)
    figures["vae"] = vae.measure(work)
    path = weights / "autoencoder-metrics.json"
    path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return figures


if __name__ == "__main__":
    main()
