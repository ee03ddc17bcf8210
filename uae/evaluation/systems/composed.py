"""A vision-language model that writes and a text-to-image pipeline that paints, as one system."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from uae.errors import ModelError
from uae.evaluation.judges.base import ChatRequest
from uae.evaluation.pictures import Pixels
from uae.evaluation.systems.base import Capabilities, CaptionRequest, Failure, PictureRequest
from uae.evaluation.systems.painter import Painter, pipeline_class
from uae.evaluation.vision_language import VisionLanguageModel, check_folder
from uae.fingerprints import folder_sha256, json_sha256
from uae.recipe import ComposedSystemRecipe


class ComposedSystem:
    """Any captioner of transformers with any painter of diffusers; one of them may be missing.

    Both stay in memory until `close`. How a guidance scale reaches the pipeline is told in
    `uae.evaluation.systems.painter.guidance_arguments`.
    """

    def __init__(self, recipe: ComposedSystemRecipe, device: torch.device) -> None:
        """Check the folders and hash them; nothing is loaded.

        Raises:
            ModelError: If a folder holds no model or pipeline, or both are left out.
        """
        self._recipe, self._device = recipe, device
        self._writer: VisionLanguageModel | None = None
        self._painter: Painter | None = None
        parts = {}
        if recipe.captioner is not None:
            check_folder(Path(recipe.captioner))
            parts["captioner"] = folder_sha256(Path(recipe.captioner))
        if recipe.painter is not None:
            parts["pipeline"] = pipeline_class(Path(recipe.painter))
            parts["painter"] = folder_sha256(Path(recipe.painter))
        if not parts:
            raise ModelError(f"{recipe.name!r}: give a captioner, a painter, or both")
        shas = {name: parts[name] for name in ("captioner", "painter") if name in parts}
        self.identity = {
            "name": recipe.name,
            "kind": "composed",
            "sha256": json_sha256(shas),
            **parts,
        }
        self.capabilities = Capabilities("captioner" in parts, "painter" in parts)

    @property
    def settings(self) -> dict[str, Any]:
        """How it writes and paints."""
        chosen = {"dtype"}
        chosen |= {"captioning"} if self.capabilities.captions else set()
        chosen |= (
            {"num_steps", "guidance_scale", "image_size"} if self.capabilities.pictures else set()
        )
        settings: dict[str, Any] = self._recipe.model_dump(mode="json", include=chosen)
        return settings

    def caption(self, requests: Sequence[CaptionRequest]) -> list[str | Failure]:
        """Return one caption for each picture, as its processor sees it.

        Raises:
            ModelError: If there is no captioner, or it cannot be loaded.
        """
        if self._recipe.captioner is None:
            raise ModelError(f"{self._recipe.name!r} has no captioner: it only paints")
        if self._writer is None:
            folder = Path(self._recipe.captioner)
            self._writer = VisionLanguageModel.load(folder, self._recipe.dtype, self._device)
        asked = self._recipe.captioning
        return [
            *self._writer.write(
                [ChatRequest((request.picture,), asked.prompt) for request in requests],
                max_new_tokens=asked.max_new_tokens,
                temperature=asked.temperature,
                seeds=[request.seed for request in requests],
            )
        ]

    def generate(self, requests: Sequence[PictureRequest]) -> list[Pixels | Failure]:
        """Return one picture for each text; it depends on its own text and seed only.

        A text that is cut and may not be has none.

        Raises:
            ModelError: If there is no painter, or it cannot be loaded.
            EvaluationError: If it is unknown whether texts are cut, or a picture is broken.
        """
        if self._recipe.painter is None:
            raise ModelError(f"{self._recipe.name!r} has no painter: it only writes")
        if self._painter is None:
            self._painter = Painter.load(Path(self._recipe.painter), self._recipe, self._device)
        return self._painter.paint(requests)

    def close(self) -> None:
        """Let go of the weights."""
        self._writer = self._painter = None
