"""Janus and Janus-Pro of transformers as a system under test.

Source: arXiv:2410.13848, arXiv:2501.17811; transformers' JanusForConditionalGeneration.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers.cache_utils import DynamicCache
from transformers.generation.logits_process import LogitsProcessor, LogitsProcessorList
from transformers.models.janus.modeling_janus import JanusForConditionalGeneration
from transformers.models.janus.processing_janus import JanusProcessor

from uae.evaluation.pictures import Pixels
from uae.evaluation.seeding import seeded
from uae.evaluation.systems.base import Capabilities, CaptionRequest, Failure, PictureRequest
from uae.evaluation.systems.native import (
    Native,
    chat_text,
    finite,
    fit_text,
    load_native,
    native_folder,
    refuse_broken_scores,
    sampling,
    write_caption,
)
from uae.fingerprints import folder_sha256
from uae.recipe import JanusSystemRecipe
from uae.seeds import derive_seed


class JanusSystem:
    """One autoregressive model for both directions; requests are answered one by one."""

    def __init__(self, recipe: JanusSystemRecipe, device: torch.device) -> None:
        self._folder = native_folder(recipe.path, "janus")
        self._recipe, self._device = recipe, device
        self._native: Native | None = None
        self.identity = {
            "name": recipe.name,
            "kind": "janus",
            "sha256": folder_sha256(self._folder),
        }
        self.capabilities = Capabilities(captions=True, pictures=True)
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
            native = load_native(
                JanusForConditionalGeneration,
                JanusProcessor,
                self._folder,
                dtype=self._recipe.dtype,
                device=self._device,
            )
            refuse_broken_scores(native.model.model.generation_head, self._folder)
            # Where generation starts; folders of the first converter lack it.
            native.model.generation_config.generation_kwargs = {
                "boi_token_id": native.processor.tokenizer.boi_token_id
            }
            self._native = native
        return self._native

    def caption(self, requests: Sequence[CaptionRequest]) -> list[str | Failure]:
        """Return one caption for each picture.

        Raises:
            EvaluationError: If prompt and caption are longer than the model can read.
        """
        return [self._caption(request) for request in requests]

    def generate(self, requests: Sequence[PictureRequest]) -> list[Pixels | Failure]:
        """Return one picture for each text; it depends on its own text and seed only.

        A text that is too long and may not be cut has none.

        Raises:
            EvaluationError: If there is no room for any text, or a picture is not finite.
        """
        return [self._paint(request) for request in requests]

    def close(self) -> None:
        """Let go of the weights."""
        self._native = None

    def _caption(self, request: CaptionRequest) -> str:
        processor = self.native.processor
        question = {"type": "text", "text": self._recipe.captioning.prompt}
        inputs = processor(
            text=_turn(processor, [{"type": "image"}, question]),
            images=[Image.fromarray(request.picture)],
            generation_mode="text",
            return_tensors="pt",
        )
        return write_caption(
            self.native,
            inputs,
            self._recipe.captioning,
            seed=derive_seed(request.seed, "caption"),
            place=request.place,
        )

    @torch.inference_mode()
    def _paint(self, request: PictureRequest) -> Pixels | Failure:
        model, processor = self.native
        text = fit_text(
            request.text,
            processor.tokenizer,
            lambda text: self._prompt(text)["input_ids"].shape[1],
            self.native.max_tokens - model.config.vision_config.num_image_tokens,
            overlong=request.overlong,
            place=request.place,
        )
        if isinstance(text, Failure):
            return text
        with seeded(derive_seed(request.seed, "picture"), model.device):
            tokens = model.generate(
                **self._prompt(text).to(model.device),
                generation_mode="image",
                logits_processor=_conditional_only(self._recipe.guidance_scale),
                # The static cache of transformers is as long as the longest request so far, and
                # with it the order of additions: a picture would depend on those before it.
                past_key_values=DynamicCache(config=model.config.text_config),
                **self._sampling(),
            )
        image = finite(model.decode_image_tokens(tokens), request.place)
        picture_CHW = processor.postprocess(list(image), return_tensors="pt")["pixel_values"][0]
        return np.ascontiguousarray(picture_CHW.permute(1, 2, 0).cpu().numpy())

    def _prompt(self, text: str) -> Any:
        processor = self.native.processor
        turn = _turn(processor, [{"type": "text", "text": text}])
        return processor(text=turn, generation_mode="image", return_tensors="pt")

    def _sampling(self) -> dict[str, Any]:
        tokenizer = self.native.processor.tokenizer
        return {
            "guidance_scale": self._recipe.guidance_scale,
            "bos_token_id": tokenizer.bos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            **sampling(self._recipe.image_temperature),
        }


def _turn(processor: Any, content: list[dict[str, str]]) -> str:
    return chat_text(processor, [{"role": "user", "content": content}])


class _ConditionalOnly(LogitsProcessor):  # type: ignore[misc]
    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return scores[: input_ids.shape[0]]


def _conditional_only(guidance_scale: float) -> Any:
    # At 1 transformers leaves out guidance but not the unconditional rows, and fails on them.
    return LogitsProcessorList([_ConditionalOnly()] if guidance_scale == 1 else [])
