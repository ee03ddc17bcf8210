"""Throughput of the two samplers, and what the caches of frozen parts save."""

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from clock import now
from measurement import Measurement

from uae.data.dataset import load_dataset
from uae.models.autoencoder import AutoEncoder
from uae.recipe import Recipe
from uae.rollouts.captions import rollout_captions
from uae.rollouts.images import rollout_images
from uae.seeds import make_generator
from uae.stages.pretrain_decoder import read_captions
from uae.training.numerics import exact_numerics

_REPEATS = 3


@torch.no_grad()
def measure(recipe: Recipe, data: Path, model: Path) -> Iterator[Measurement]:
    """Time the samplers with the recipe's settings, and the frozen parts on Stage 1's batch."""
    with exact_numerics(recipe.models.num_threads) as device:
        auto_encoder = AutoEncoder.load(model, device=device)
        dataset = load_dataset(data / "train")
        size = recipe.data.image_size

        def images(count: int) -> torch.Tensor:
            rows = [row % len(dataset) for row in range(count)]
            return torch.from_numpy(dataset.pixels(rows, size)).to(device)

        yield from _sampling(recipe, auto_encoder)
        yield from _caption_rollout(recipe, auto_encoder, images)
        yield from _image_rollout(recipe, auto_encoder)
        count = recipe.pretrain_decoder.batch_size
        captions = [dataset[row % len(dataset)].caption for row in range(count)]
        pictures = images(count)
        yield Measurement(
            f"VAE latents of {count} pictures (kept by Stage 1)",
            _seconds(lambda: auto_encoder.decoder.encode_images(pictures)),
            "s",
        )
        yield Measurement(
            f"hidden states of {count} captions (kept by Stage 1)",
            _seconds(lambda: read_captions(auto_encoder, captions, pictures)),
            "s",
        )


def _sampling(recipe: Recipe, model: AutoEncoder) -> Iterator[Measurement]:
    settings = recipe.evaluation
    count = settings.batch_size
    context = model.condition_from_captions(["a red cat"] * count)
    noise = model.draw_noise(count, make_generator(0, "bench"))
    seconds = _seconds(lambda: model.generate_from_condition(context, noise, settings.sampler))
    name = f"sampling, {settings.sampler.num_steps} ODE steps, batch {count}"
    yield Measurement(name, count / seconds, "images/s")


def _caption_rollout(
    recipe: Recipe, model: AutoEncoder, images: Callable[[int], torch.Tensor]
) -> Iterator[Measurement]:
    section = recipe.generation_for_understanding
    pictures = images(section.batch_size)
    num_tokens = 0

    def rollout() -> None:
        nonlocal num_tokens
        generator = make_generator(0, "bench")
        num_tokens = rollout_captions(
            model.encoder, pictures, section.rollout, generator
        ).num_tokens

    seconds = _seconds(rollout)
    count = section.batch_size * section.rollout.group_size
    yield Measurement(f"caption rollout, {count} captions", num_tokens / seconds, "tokens/s")


def _image_rollout(recipe: Recipe, model: AutoEncoder) -> Iterator[Measurement]:
    section = recipe.understanding_for_generation
    context = model.condition_from_captions(["a red cat"] * section.batch_size)
    size = model.image_size

    def rollout() -> None:
        generator = make_generator(0, "bench", device=model.device)
        rollout_images(model.decoder, context, section.rollout, generator, image_size=size)

    count = section.batch_size * section.rollout.group_size
    name = f"image rollout, {section.rollout.num_steps} steps, {count} pictures"
    yield Measurement(name, count / _seconds(rollout), "images/s")


def _seconds(work: Callable[[], object]) -> float:
    """Return the fastest of three runs, after one that warms up."""
    work()
    found = []
    for _ in range(_REPEATS):
        start = now()
        work()
        found.append(now() - start)
    return min(found)
