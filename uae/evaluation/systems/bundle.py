"""Our own auto-encoder as a system under test."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from uae.data.images import square_pixels
from uae.evaluation.pictures import Pixels, to_images, to_pixels
from uae.evaluation.systems.base import Capabilities, CaptionRequest, Failure, PictureRequest
from uae.models.autoencoder import AutoEncoder
from uae.models.bundle import bundle_sha
from uae.recipe import EvaluationRecipe, SamplerRecipe, UaeSystemRecipe
from uae.seeds import make_generator


class BundleSystem:
    """Our own auto-encoder, out of a bundle or an export."""

    def __init__(
        self,
        path: Path,
        *,
        name: str,
        max_new_tokens: int,
        temperature: float,
        sampler: SamplerRecipe,
        device: torch.device | str = "cpu",
    ) -> None:
        self._path, self._device = path, device
        self._max_new_tokens, self._temperature = max_new_tokens, temperature
        self._sampler = sampler
        self._model: AutoEncoder | None = None
        self.identity = {"name": name, "kind": "uae", "sha256": bundle_sha(path)}
        self.capabilities = Capabilities(captions=True, pictures=True)

    @classmethod
    def of_run(
        cls, path: Path, settings: EvaluationRecipe, *, device: torch.device | str = "cpu"
    ) -> "BundleSystem":
        """Return a run's model with its recipe's settings."""
        return cls(
            path,
            name="UAE",
            max_new_tokens=settings.max_new_tokens,
            temperature=settings.temperature,
            sampler=settings.sampler,
            device=device,
        )

    @classmethod
    def of_recipe(cls, recipe: UaeSystemRecipe, path: Path, device: torch.device) -> "BundleSystem":
        """Return the system that a system file describes."""
        return cls(
            path,
            name=recipe.name,
            max_new_tokens=recipe.max_new_tokens,
            temperature=recipe.temperature,
            sampler=recipe.sampler,
            device=device,
        )

    @property
    def settings(self) -> dict[str, Any]:
        """How it writes and paints."""
        return {
            "max_new_tokens": self._max_new_tokens,
            "temperature": self._temperature,
            "sampler": self._sampler.model_dump(),
        }

    @property
    def model(self) -> AutoEncoder:
        """The model, read at first use.

        Raises:
            ModelError: If the folder is no complete bundle.
        """
        if self._model is None:
            self._model = AutoEncoder.load(self._path, device=self._device)
        return self._model

    @torch.inference_mode()
    def caption(self, requests: Sequence[CaptionRequest]) -> list[str | Failure]:
        """Return one caption for each picture, cropped to its central square and resized."""
        if not requests:
            return []
        side = self.model.image_size
        squares = [_square(request.picture, side) for request in requests]
        captions: list[str | Failure] = [
            *self.model.caption(
                to_images(squares),
                max_new_tokens=self._max_new_tokens,
                temperature=self._temperature,
                generator=make_generator(requests[0].seed, "captions"),
            )
        ]
        return captions

    @torch.inference_mode()
    def generate(self, requests: Sequence[PictureRequest]) -> list[Pixels | Failure]:
        """Return one picture for each text; each starts from the noise of its own seed.

        A text that is longer than the condition and may not be cut has none.

        Raises:
            EvaluationError: If a picture holds NaN or infinity.
        """
        cuts = [self._cut(request) for request in requests]
        whole = [request for request, cut in zip(requests, cuts, strict=True) if cut is None]
        pictures = iter(self._paint(whole) if whole else [])
        return [next(pictures) if cut is None else cut for cut in cuts]

    def _cut(self, request: PictureRequest) -> Failure | None:
        """Return the failure of a text that does not fit and has to."""
        encoder = self.model.encoder
        (ids,) = encoder.token_ids([request.text])
        room = self.model.condition_tokens - encoder.num_template_tokens
        if request.overlong == "truncate" or len(ids) <= room:
            return None
        return Failure(f"the text is cut: the condition holds {room} of {len(ids)} tokens")

    def _paint(self, requests: Sequence[PictureRequest]) -> list[Pixels]:
        context_BTD = self.model.condition_from_captions(
            [request.text for request in requests], overlong="truncate"
        )
        noises = [
            self.model.draw_noise(1, make_generator(request.seed, "noise")) for request in requests
        ]
        images_BCHW = self.model.generate_from_condition(
            context_BTD, torch.cat(noises), self._sampler
        )
        return [*to_pixels(images_BCHW)]

    def close(self) -> None:
        """Let go of the weights."""
        self._model = None


def _square(picture: Pixels, side: int) -> Pixels:
    if picture.shape[:2] == (side, side):
        return picture
    square_CHW = torch.from_numpy(square_pixels(Image.fromarray(picture), side))
    return to_pixels(square_CHW[None])[0]
