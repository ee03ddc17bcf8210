"""Chameleon of transformers as a system under test: it writes captions only.

Source: arXiv:2405.09818; transformers' ChameleonForConditionalGeneration, which bars picture tokens
and has no picture decoder, as the published weights have none.
"""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from transformers.models.chameleon.modeling_chameleon import ChameleonForConditionalGeneration
from transformers.models.chameleon.processing_chameleon import ChameleonProcessor

from uae.errors import EvaluationError
from uae.evaluation.pictures import Pixels
from uae.evaluation.systems.base import Capabilities, CaptionRequest, Failure, PictureRequest
from uae.evaluation.systems.native import Native, load_native, native_folder, write_caption
from uae.fingerprints import folder_sha256
from uae.recipe import ChameleonSystemRecipe
from uae.seeds import derive_seed


class ChameleonSystem:
    """A model that reads pictures; requests are answered one by one."""

    def __init__(self, recipe: ChameleonSystemRecipe, device: torch.device) -> None:
        self._folder = native_folder(recipe.path, "chameleon")
        self._recipe, self._device = recipe, device
        self._native: Native | None = None
        self.identity = {
            "name": recipe.name,
            "kind": "chameleon",
            "sha256": folder_sha256(self._folder),
        }
        self.capabilities = Capabilities(captions=True, pictures=False)
        self.settings: dict[str, Any] = recipe.model_dump(
            mode="json", exclude={"kind", "name", "path"}
        )

    @property
    def native(self) -> Native:
        """The model, read at first use.

        Raises:
            ModelError: If the weights do not fit their configuration.
        """
        if self._native is None:
            self._native = load_native(
                ChameleonForConditionalGeneration,
                ChameleonProcessor,
                self._folder,
                dtype=self._recipe.dtype,
                device=self._device,
            )
        return self._native

    def caption(self, requests: Sequence[CaptionRequest]) -> list[str | Failure]:
        """Return one caption for each picture.

        Raises:
            EvaluationError: If prompt and caption are longer than the model can read.
        """
        return [self._caption(request) for request in requests]

    def generate(self, requests: Sequence[PictureRequest]) -> list[Pixels | Failure]:
        """Refuse.

        Raises:
            EvaluationError: Always.
        """
        raise EvaluationError(
            f"{self.identity['name']} cannot paint {len(requests)} pictures: Chameleon's published "
            "weights have no picture decoder"
        )

    def close(self) -> None:
        """Let go of the weights."""
        self._native = None

    def _caption(self, request: CaptionRequest) -> str:
        processor = self.native.processor
        inputs = processor(
            text=f"{self._recipe.captioning.prompt}{processor.image_token}",
            images=[Image.fromarray(request.picture)],
            return_tensors="pt",
        )
        return write_caption(
            self.native,
            inputs,
            self._recipe.captioning,
            seed=derive_seed(request.seed, "caption"),
            place=request.place,
        )
