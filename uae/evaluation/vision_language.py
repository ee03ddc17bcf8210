"""Any vision-language model of transformers, out of a local folder, asked in its own chat form.

Works with what follows transformers' conventions: a class that AutoModelForImageTextToText knows
(Qwen-VL, InternVL in its transformers layout, LLaVA, SmolVLM, ...), a processor, a chat template.
Decoding is plain: of the folder's generation settings only the special tokens are kept, so that
"greedy" and a temperature mean the same for every model (Qwen2.5-VL ships a repetition penalty).
Shape letters: N requests, T tokens, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError
from PIL import Image
from torch import Tensor
from transformers.generation.configuration_utils import GenerationConfig
from transformers.models.auto.modeling_auto import AutoModelForImageTextToText
from transformers.models.auto.processing_auto import AutoProcessor
from transformers.utils.logging import disable_progress_bar

from uae.errors import EvaluationError, ModelError
from uae.evaluation.judges.base import ChatRequest
from uae.evaluation.seeding import seeded
from uae.models.bundle import check_loading_info, loading
from uae.recipe.judges import Dtype
from uae.seeds import derive_seed

CHUNK = 8  # requests in one forward pass: a large model must not meet hundreds of pictures at once
_KEPT = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")


class VisionLanguageModel:
    """A model with its processor; requests go through it in chunks of `CHUNK`."""

    def __init__(self, model: Any, processor: Any) -> None:
        self.model = model.requires_grad_(False).eval()
        self.processor = processor
        processor.tokenizer.padding_side = "left"  # the next token follows the last position
        self.model.generation_config = _plain(model.generation_config, processor.tokenizer)

    @classmethod
    def load(cls, folder: Path, dtype: Dtype, device: torch.device | str) -> "VisionLanguageModel":
        """Read a model.

        Raises:
            ModelError: If there is no config.json, processor or chat template, the class is no
                vision-language model, weights are pickled, or a tensor is missing or misshapen.
        """
        check_folder(folder)
        disable_progress_bar()
        local = {"local_files_only": True, "trust_remote_code": False}
        with loading(folder), _packages(folder):
            processor = AutoProcessor.from_pretrained(folder, **local)
            _check_processor(processor, folder)
            model, info = AutoModelForImageTextToText.from_pretrained(
                folder,
                dtype=dtype,
                use_safetensors=True,
                ignore_mismatched_sizes=True,  # so that they are named below
                output_loading_info=True,
                **local,
            )
        # Published folders hold tensors that a class has no use for, such as old buffers.
        check_loading_info(folder, {**info, "unexpected_keys": ()})
        return cls(model.to(device), processor)

    def write(
        self,
        requests: Sequence[ChatRequest],
        *,
        max_new_tokens: int,
        temperature: float = 0.0,
        seeds: Sequence[int] = (),
    ) -> list[str]:
        """Return the answers, without white space around them.

        Args:
            requests: What is asked.
            max_new_tokens: An answer ends here at the latest.
            temperature: 0 is greedy; else every request is drawn alone, from its own seed.
            seeds: One for each request where the temperature is above 0.

        Raises:
            EvaluationError: If the model's processor cannot take the pictures or the text.
        """
        if temperature == 0:
            return [
                text
                for chunk in _chunks(requests)
                for text in self._generate(chunk, max_new_tokens=max_new_tokens, do_sample=False)
            ]
        settings = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
        return [
            self._drawn(request, seed, max_new_tokens=max_new_tokens, **settings)
            for request, seed in zip(requests, seeds, strict=True)
        ]

    def next_logits(self, requests: Sequence[ChatRequest]) -> Tensor:
        """Return the logits (N, V) of each answer's first token, float32 on the CPU.

        Raises:
            EvaluationError: If a logit is NaN: broken weights must not look like an answer.
        """
        logits = [self._first_logits(chunk) for chunk in _chunks(requests)]
        logits_NV = torch.cat([part.float().cpu() for part in logits])
        if torch.isnan(logits_NV).any():
            raise EvaluationError("the vision-language model's logits hold NaN: change the dtype")
        return logits_NV

    @torch.inference_mode()
    def _first_logits(self, requests: Sequence[ChatRequest]) -> Tensor:
        # Through `generate`, which knows how each family numbers padded positions.
        out = self.model.generate(
            **self._inputs(requests),
            max_new_tokens=1,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        )
        first_NV: Tensor = out.logits[0]
        return first_NV

    @torch.inference_mode()
    def _generate(self, requests: Sequence[ChatRequest], **settings: Any) -> list[str]:
        inputs = self._inputs(requests)
        ids_NT = self.model.generate(**inputs, **settings)[:, inputs["input_ids"].shape[1] :]
        texts = self.processor.tokenizer.batch_decode(ids_NT, skip_special_tokens=True)
        return [text.strip() for text in texts]

    def _drawn(self, request: ChatRequest, seed: int, **settings: Any) -> str:
        """Draw one answer; `generate` takes no generator, so the global one is borrowed."""
        with seeded(derive_seed(seed, "answer"), self.model.device):
            return self._generate([request], **settings)[0]

    def _inputs(self, requests: Sequence[ChatRequest]) -> Any:
        try:
            inputs = self.processor.apply_chat_template(
                [_conversation(request) for request in requests],
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
                processor_kwargs={"padding": True},
            )
        except (ValueError, TemplateError) as error:  # a template may refuse a system turn
            raise EvaluationError(
                f"the processor of the vision-language model refuses a request: {error}"
            ) from error
        return inputs.to(self.model.device, dtype=self.model.dtype)


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds no model of transformers; nothing is read.

    Raises:
        ModelError: Saying what is missing.
    """
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"no vision-language model in {folder}: it has no config.json; give a folder that "
            "save_pretrained of transformers wrote"
        )


@contextmanager
def _packages(folder: Path) -> Iterator[None]:
    """Name the folder where its processor needs a package that is not installed."""
    try:
        yield
    except ImportError as error:
        raise ModelError(f"{folder} needs a package: {error}") from error


def _check_processor(processor: Any, folder: Path) -> None:
    parts = ("tokenizer", "image_processor")
    missing = [part for part in parts if getattr(processor, part, None) is None]
    if missing:
        raise ModelError(
            f"{folder} has no processor for pictures and text: {' and '.join(missing)} missing; "
            "save the processor beside the model"
        )
    if processor.chat_template is None:
        processor.chat_template = processor.tokenizer.chat_template  # where older folders keep it
    if processor.chat_template is None:
        raise ModelError(
            f"{folder} has no chat template (chat_template.jinja or chat_template.json): how its "
            "model is to be asked is unknown"
        )


def _plain(own: Any, tokenizer: Any) -> GenerationConfig:
    kept = {name: getattr(own, name, None) for name in _KEPT}
    kept["pad_token_id"] = tokenizer.pad_token_id  # what the requests are padded with
    return GenerationConfig(**kept)


def _chunks(requests: Sequence[ChatRequest]) -> list[list[ChatRequest]]:
    """Cut into chunks with one number of pictures each: processors take no ragged batches."""
    runs = [list(run) for _, run in groupby(requests, key=lambda request: len(request.pictures))]
    return [run[start : start + CHUNK] for run in runs for start in range(0, len(run), CHUNK)]


def _conversation(request: ChatRequest) -> list[dict[str, Any]]:
    pictures = [
        {"type": "image", "image": Image.fromarray(picture)} for picture in request.pictures
    ]
    turns = [{"role": "user", "content": [*pictures, {"type": "text", "text": request.text}]}]
    if request.system:
        turns.insert(0, {"role": "system", "content": [{"type": "text", "text": request.system}]})
    return turns
