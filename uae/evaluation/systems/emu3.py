"""Emu3 of transformers as a system under test.

Source: arXiv:2409.18869; transformers' Emu3ForConditionalGeneration and the authors'
image_generation.py, whose negative prompt is used. Its positive suffix ("masterpiece, film grained,
best quality.") is not: a benchmark's text is painted as it stands.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers.models.emu3.modeling_emu3 import Emu3ForConditionalGeneration
from transformers.models.emu3.processing_emu3 import Emu3Processor

from uae.errors import EvaluationError
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
    sampling,
    write_caption,
)
from uae.fingerprints import folder_sha256, json_sha256
from uae.recipe import Emu3SystemRecipe
from uae.seeds import derive_seed

NEGATIVE_PROMPT = (
    "lowres, bad anatomy, bad hands, text, error, missing fingers, extra digit, fewer digits, "
    "cropped, worst quality, low quality, normal quality, jpeg artifacts, signature, watermark, "
    "username, blurry."
)
SYSTEM_PROMPT = "You are a helpful assistant."  # of the authors' chats
PIXELS_PER_TOKEN = 8  # on a side; transformers' processor has it as a constant
_NUM_CLOSING = 3  # end of frame, of image, of sequence


class Emu3System:
    """Two weights of one class, or one for both; requests are answered one by one."""

    def __init__(self, recipe: Emu3SystemRecipe, device: torch.device) -> None:
        if recipe.image_size % PIXELS_PER_TOKEN:
            raise EvaluationError(
                f"image_size is {recipe.image_size}; Emu3 paints multiples of {PIXELS_PER_TOKEN}"
            )
        self._chat = native_folder(recipe.chat_path, "emu3")
        self._generation = native_folder(recipe.generation_path, "emu3")
        self._recipe, self._device = recipe, device
        self._natives: dict[Path, Native] = {}
        hashes = {folder: folder_sha256(folder) for folder in {self._chat, self._generation}}
        both = {"chat": hashes[self._chat], "generation": hashes[self._generation]}
        self.identity = {"name": recipe.name, "kind": "emu3", "sha256": json_sha256(both)}
        self.capabilities = Capabilities(captions=True, pictures=True)
        self.settings: dict[str, Any] = recipe.model_dump(
            mode="json", exclude={"kind", "name", "chat_path", "generation_path"}
        ) | {"system_prompt": SYSTEM_PROMPT, "negative_prompt": NEGATIVE_PROMPT}

    @property
    def chat(self) -> Native:
        """The model that writes, read at first use.

        Raises:
            ModelError: If the weights do not fit their configuration.
        """
        return self._load(self._chat)

    @property
    def generation(self) -> Native:
        """The model that paints, read at first use.

        Raises:
            ModelError: If the weights do not fit their configuration.
        """
        return self._load(self._generation)

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
        self._natives.clear()

    def _load(self, folder: Path) -> Native:
        if folder not in self._natives:
            self._natives[folder] = load_native(
                Emu3ForConditionalGeneration,
                Emu3Processor,
                folder,
                dtype=self._recipe.dtype,
                device=self._device,
            )
        return self._natives[folder]

    def _caption(self, request: CaptionRequest) -> str:
        processor = self.chat.processor
        question = {"type": "text", "text": self._recipe.captioning.prompt}
        conversation = [
            {"role": "system", "content": [{"type": "text", "text": SYSTEM_PROMPT}]},
            {"role": "user", "content": [{"type": "image"}, question]},
        ]
        inputs = processor(
            text=chat_text(processor, conversation),
            images=[Image.fromarray(request.picture)],
            return_tensors="pt",
        )
        return write_caption(
            self.chat,
            inputs,
            self._recipe.captioning,
            seed=derive_seed(request.seed, "caption"),
            place=request.place,
        )

    @torch.inference_mode()
    def _paint(self, request: PictureRequest) -> Pixels | Failure:
        model, processor = self.generation
        side = self._recipe.image_size // PIXELS_PER_TOKEN
        num_new_tokens = side * (side + 1) + _NUM_CLOSING  # each row ends with a token of its own
        text = fit_text(
            request.text,
            processor.tokenizer,
            lambda text: self._prompt(text)["input_ids"].shape[1],
            self.generation.max_tokens - num_new_tokens,
            overlong=request.overlong,
            place=request.place,
        )
        if isinstance(text, Failure):
            return text
        prompt, negative = self._prompt(text), self._prompt(NEGATIVE_PROMPT)
        length = prompt["input_ids"].shape[1]
        with seeded(derive_seed(request.seed, "picture"), model.device):
            tokens = model.generate(
                **prompt,
                negative_prompt_ids=negative["input_ids"],
                negative_prompt_attention_mask=negative["attention_mask"],
                prefix_allowed_tokens_fn=_grid_of_tokens(self.generation, length, side),
                guidance_scale=self._recipe.guidance_scale,
                max_new_tokens=num_new_tokens,
                **(sampling(1.0) | {"top_k": self._recipe.top_k}),
            )
        image = model.decode_image_tokens(image_tokens=tokens[:, length:], height=side, width=side)
        pictures = processor.postprocess(
            list(finite(image, request.place)), return_tensors="PIL.Image.Image"
        )
        return np.array(pictures["pixel_values"][0])

    def _prompt(self, text: str) -> dict[str, Tensor]:
        # The negative prompt too opens a picture, as in the authors' script. Transformers' example
        # leaves that out: its negative branch would go on with a text.
        inputs = self.generation.processor(
            text=[text],
            return_for_image_generation=True,
            ratio="1:1",
            image_area=self._recipe.image_size**2,
            return_tensors="pt",
        ).to(self.generation.model.device)
        return {name: inputs[name] for name in ("input_ids", "attention_mask")}


def _grid_of_tokens(native: Native, length: int, side: int) -> Callable[[int, Tensor], Tensor]:
    """Return which tokens may follow a prompt of `length` tokens: a picture's rows and its end."""
    model, tokenizer = native.model, native.processor.tokenizer
    mapping = model.vocabulary_mapping
    visual = torch.tensor(mapping.image_tokens, device=model.device)
    row_end = torch.tensor([mapping.eol_token_id], device=model.device)
    closing = [tokenizer.eof_token_id, tokenizer.eoi_token_id, tokenizer.eos_token_id]
    closing_by_step = torch.tensor(closing, device=model.device)[:, None]

    def allowed(_: int, tokens: Tensor) -> Tensor:
        drawn = tokens.shape[0] - length
        row, column = divmod(drawn, side + 1)
        if row >= side:
            return closing_by_step[drawn - side * (side + 1)]
        return row_end if column == side else visual

    return allowed
