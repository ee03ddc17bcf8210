"""Systems under test: anything that writes captions and paints pictures from texts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol, Self

import torch
from torch import Tensor

from uae.evaluation.pictures import Pixels, to_images, to_pixels
from uae.models.autoencoder import AutoEncoder
from uae.models.bundle import bundle_sha
from uae.recipe import EvaluationRecipe
from uae.seeds import make_generator

Overlong = Literal["error", "truncate"]


class System(Protocol):
    """A unified model as the benchmarks see it."""

    @property
    def identity(self) -> dict[str, str]:
        """Kind and weights hash; stamped into results."""
        ...

    @property
    def image_size(self) -> int:
        """Side in pixels of the pictures that it paints."""
        ...

    def caption(self, images_BCHW: Tensor, *, seed: int) -> list[str]:
        """Return one caption for each picture; `seed` matters only if captions are sampled."""
        ...

    def generate(
        self, texts: Sequence[str], *, seeds: Sequence[int], overlong: Overlong = "error"
    ) -> Tensor:
        """Return pictures (B, 3, H, W) in [0, 1]; each depends on its own text and seed only."""
        ...


class BundleSystem:
    """Our own auto-encoder, out of a bundle or an export, with a recipe's evaluation settings."""

    def __init__(
        self, model: AutoEncoder, settings: EvaluationRecipe, identity: dict[str, str]
    ) -> None:
        self.model = model
        self.settings = settings
        self.identity = identity

    @classmethod
    def load(
        cls, path: Path, settings: EvaluationRecipe, *, device: torch.device | str = "cpu"
    ) -> Self:
        """Read a model.

        Raises:
            ModelError: If the folder is no complete bundle.
        """
        model = AutoEncoder.load(path, device=device)
        return cls(model, settings, {"kind": "uae", "sha256": bundle_sha(path)})

    @property
    def image_size(self) -> int:
        """Side in pixels of the pictures that it paints."""
        return self.model.image_size

    @torch.inference_mode()
    def caption(self, images_BCHW: Tensor, *, seed: int) -> list[str]:
        """Return one caption for each picture."""
        return self.model.caption(
            images_BCHW,
            max_new_tokens=self.settings.max_new_tokens,
            temperature=self.settings.temperature,
            generator=make_generator(seed, "captions"),
        )

    @torch.inference_mode()
    def generate(
        self, texts: Sequence[str], *, seeds: Sequence[int], overlong: Overlong = "error"
    ) -> Tensor:
        """Return pictures (B, 3, H, W) in [0, 1]; each starts from the noise of its own seed.

        Raises:
            ModelError: If a text is longer than the condition and is not to be truncated.
        """
        context_BTD = self.model.condition_from_captions(texts, overlong=overlong)
        noises = [self.model.draw_noise(1, make_generator(seed, "noise")) for seed in seeds]
        noise_BCHW = torch.cat(noises)
        return self.model.generate_from_condition(context_BTD, noise_BCHW, self.settings.sampler)


def write_captions(
    system: System, pictures: Sequence[Pixels], *, batch_size: int, seed: int
) -> list[str]:
    """Return a system's captions of pictures of one size, batch after batch."""
    captions: list[str] = []
    for start in range(0, len(pictures), batch_size):
        images = to_images(pictures[start : start + batch_size])
        captions += system.caption(images, seed=seed + start)
    return captions


def paint_pictures(
    system: System,
    texts: Sequence[str],
    seeds: Sequence[int],
    *,
    batch_size: int,
    overlong: Overlong = "error",
) -> list[Pixels]:
    """Return a system's pictures for texts, batch after batch.

    A benchmark's prompt that is too long is an error. A system's own caption may be truncated: what
    it writes beyond its bottleneck is lost to it.

    Raises:
        EvaluationError: If a picture holds NaN or infinity.
    """
    pictures: list[Pixels] = []
    for start in range(0, len(texts), batch_size):
        part = slice(start, start + batch_size)
        pictures += to_pixels(system.generate(texts[part], seeds=seeds[part], overlong=overlong))
    return pictures
