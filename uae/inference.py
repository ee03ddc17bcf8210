"""A trained model for those who use it: pictures in, pictures out."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from uae.data.images import square_pixels, upright_rgb
from uae.errors import DataError, ModelError
from uae.evaluation.pictures import to_pixels
from uae.models.autoencoder import AutoEncoder
from uae.recipe import SamplerRecipe
from uae.seeds import make_generator

NUM_STEPS = 20
Pictures = Image.Image | Sequence[Image.Image] | Tensor
_GIVE_PICTURES = "give a PIL image (PIL.Image.open(path)), a list of them, or a tensor (B, 3, H, W)"


class Reconstruction(NamedTuple):
    """What the model wrote about a picture, and what it drew from that alone."""

    caption: str
    image: Image.Image


class PictureModel:
    """caption, generate and reconstruct on PIL images, file by file or many at once."""

    def __init__(self, autoencoder: AutoEncoder) -> None:
        self.autoencoder = autoencoder

    @property
    def max_new_tokens(self) -> int:
        """The longest caption that the decoder can be conditioned on."""
        template = self.autoencoder.encoder.num_template_tokens
        return self.autoencoder.condition_tokens - template

    def caption(
        self,
        images: Pictures,
        *,
        max_new_tokens: int | None = None,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[str]:
        """Describe pictures.

        Args:
            images: One PIL image, several, or a tensor (B, 3, H, W) of RGB in [0, 1]. Pictures
                that are not of the model's size are cropped to their central square and resized;
                a tensor is rounded to 8 bits for that.
            max_new_tokens: By default, what the decoder can be conditioned on.
            temperature: 0 is greedy; the authors evaluate at 0.7.
            seed: Of the sampling when temperature is above 0.

        Returns:
            One caption for each picture.

        Raises:
            DataError: If a picture cannot be decoded, naming its file or its number.
            ModelError: If there is no picture, or something else was given.
        """
        return self.autoencoder.caption(
            self._pixels(images),
            max_new_tokens=max_new_tokens or self.max_new_tokens,
            temperature=temperature,
            generator=make_generator(seed, "caption"),
        )

    def generate(
        self,
        texts: str | Sequence[str],
        *,
        seed: int = 0,
        num_steps: int = NUM_STEPS,
        guidance_scale: float = 1.0,
    ) -> list[Image.Image]:
        """Draw a picture for each text.

        Raises:
            ModelError: If there is no text, something else was given, or a text is longer than
                the decoder can be conditioned on.
        """
        captions = _as_texts(texts)
        images = self.autoencoder.generate(
            captions,
            generator=make_generator(seed, "noise"),
            sampler=SamplerRecipe(num_steps=num_steps, guidance_scale=guidance_scale),
        )
        return [Image.fromarray(pixels) for pixels in to_pixels(images)]

    def reconstruct(
        self,
        images: Pictures,
        *,
        seed: int = 0,
        num_steps: int = NUM_STEPS,
        guidance_scale: float = 1.0,
    ) -> list[Reconstruction]:
        """Describe pictures and draw them again from the descriptions alone.

        Raises:
            DataError: If a picture cannot be decoded, naming its file or its number.
            ModelError: If there is no picture, or something else was given.
        """
        captions, drawn = self.autoencoder.reconstruct(
            self._pixels(images),
            generator=make_generator(seed, "noise"),
            sampler=SamplerRecipe(num_steps=num_steps, guidance_scale=guidance_scale),
            max_new_tokens=self.max_new_tokens,
        )
        pairs = zip(captions, map(Image.fromarray, to_pixels(drawn)), strict=True)
        return [Reconstruction(caption, image) for caption, image in pairs]

    def _pixels(self, images: Pictures) -> Tensor:
        size = self.autoencoder.image_size
        if isinstance(images, Tensor):
            _check_tensor(images)
            if images.shape[2:] == (size, size):
                return images.float().to(self.autoencoder.device)
            images = [Image.fromarray(pixels) for pixels in to_pixels(images)]
        pictures = _as_pictures(images)
        pixels = np.stack([square_pixels(picture, size) for picture in _upright(pictures)])
        return torch.from_numpy(pixels).to(self.autoencoder.device)


def _as_texts(texts: object) -> list[str]:
    if isinstance(texts, bytes) or not isinstance(texts, Iterable):
        raise ModelError(f"{_shown(texts)} is no text: give a string, or a list of them")
    captions = [texts] if isinstance(texts, str) else list(texts)
    if not captions:
        raise ModelError("there is no text to draw; give at least one")
    for number, text in enumerate(captions, start=1):
        if not isinstance(text, str):
            where = f"text {number} of {len(captions)}"
            raise ModelError(f"{where}: {_shown(text)} is no text; give a string")
    return captions


def _as_pictures(images: object) -> list[Image.Image]:
    if isinstance(images, Image.Image):
        return [images]
    if isinstance(images, str | bytes | np.ndarray) or not isinstance(images, Iterable):
        raise ModelError(f"{_shown(images)} is no picture: {_GIVE_PICTURES}")
    pictures = list(images)
    if not pictures:
        raise ModelError("there is no picture; give at least one")
    for number, picture in enumerate(pictures, start=1):
        if not isinstance(picture, Image.Image):
            where = f"picture {number} of {len(pictures)}"
            raise ModelError(f"{where}: {_shown(picture)} is no picture; {_GIVE_PICTURES}")
    return pictures


def _shown(value: object) -> str:
    """Say what was given: its shape if it is an array, else what it looks like."""
    shape = getattr(value, "shape", None)
    kind = type(value).__name__
    return f"{kind} of shape {tuple(shape)}" if shape is not None else f"{kind} {value!r:.80}"


def _check_tensor(images: Tensor) -> None:
    expected = "a tensor of pictures is (B, 3, H, W) of floats in [0, 1]"
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise ModelError(f"{expected}, got {tuple(images.shape)} of {images.dtype}")
    if 0 in images.shape:
        raise ModelError(f"there is no picture in {tuple(images.shape)}; give at least one")
    if not ((images >= 0) & (images <= 1)).all():  # false for NaN too
        low, high = images.min().item(), images.max().item()
        raise ModelError(f"{expected}, got values from {low:g} to {high:g}")


def _upright(pictures: Sequence[Image.Image]) -> Iterator[Image.Image]:
    for number, picture in enumerate(pictures, start=1):
        try:
            yield upright_rgb(picture)
        except DataError as error:
            name = getattr(picture, "filename", "") or f"{number} of {len(pictures)}"
            raise DataError(f"picture {name}: {error}") from error


def load_model(path: Path, device: str = "cpu") -> PictureModel:
    """Read a bundle for use.

    Raises:
        ModelError: If the folder is not a complete bundle.
    """
    return PictureModel(AutoEncoder.load(path, device=device))
