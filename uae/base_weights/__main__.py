"""`python -m uae.base_weights`: train every base weight and publish them; resumable.

Models go one after another in the order in which they need each other. Each continues from its
latest checkpoint, and one that is complete only publishes again.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from uae.base_weights import card, decoder, detector, encoder, judge, scorers, ssl, vae
from uae.data.starter.vocabulary import STARTER_WEIGHTS

WORK = Path("base-weights-work")
NUM_THREADS = 2


def main() -> None:
    """Train, measure, publish, and write the card."""
    torch.set_num_threads(NUM_THREADS)
    bundle = STARTER_WEIGHTS / "autoencoder"
    vae.train(WORK)
    encoder.train(WORK)
    decoder.train(WORK)
    figures: dict[str, Any] = decoder.publish(WORK, bundle)
    others: dict[str, tuple[Callable[[], object], Callable[[], Any]]] = {
        name: (
            lambda name=name: scorers.train_clip(name, WORK),
            lambda name=name: scorers.publish(name, WORK, STARTER_WEIGHTS),
        )
        for name in ("clip", "longclip")
    }
    for module in (ssl, judge, detector):
        others[module.__name__.rpartition(".")[2]] = (
            lambda module=module: module.train(WORK),
            lambda module=module: module.publish(WORK, STARTER_WEIGHTS),
        )
    for name, (train, publish) in others.items():
        train()
        figures[name] = publish()
    card.write(STARTER_WEIGHTS)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
