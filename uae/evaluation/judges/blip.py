"""BLIP-VQA as a judge of yes/no questions: the first word that its answer decoder would write.

Source: BLIP, arXiv:2201.12086. The numbers are those of `BlipForQuestionAnswering.generate` for one
question at a time. Only questions of one length in tokens go together: transformers' answer decoder
does not hide padding (`generate` gives it no mask, and its cross-attention ignores one), so that a
padded question would get another answer than the question alone.
Shape letters: B pictures, Q questions, T tokens, D width, V vocabulary.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers.models.auto.processing_auto import AutoProcessor
from transformers.models.blip.modeling_blip import BlipForQuestionAnswering
from transformers.utils.logging import disable_progress_bar

from uae.errors import ModelError
from uae.evaluation.judges.answers import answer_tokens, p_yes
from uae.evaluation.judges.base import JudgeError
from uae.evaluation.judges.files import check_judge
from uae.evaluation.pictures import Pixels
from uae.models.bundle import bundle_sha, check_loading_info, loading, read_json
from uae.recipe import BlipJudgeRecipe

CHUNK = 32  # questions, or pictures, in one forward pass


class BlipJudge:
    """A BlipForQuestionAnswering with its processor, as save_pretrained leaves them."""

    def __init__(self, model: Any, processor: Any, recipe: BlipJudgeRecipe, sha256: str) -> None:
        self._model = model.requires_grad_(False).eval()
        self._processor = processor
        self._tokens = answer_tokens(processor.tokenizer)
        self.identity = {"kind": "blip_vqa", "sha256": sha256, "dtype": recipe.dtype}

    @classmethod
    def load(cls, recipe: BlipJudgeRecipe, folder: Path, device: torch.device) -> "BlipJudge":
        """Read a judge.

        Raises:
            ModelError: If the folder holds another architecture, pickled weights, no processor, or
                a tensor is missing; or if its tokenizer has no token for "yes" or "no".
        """
        check_judge(folder)
        kinds = read_json(folder / "config.json").get("architectures") or []
        if BlipForQuestionAnswering.__name__ not in kinds:
            raise ModelError(
                f"{folder} holds {kinds}, not BlipForQuestionAnswering: another kind of judge, or "
                "a BLIP that captions or retrieves"
            )
        disable_progress_bar()
        with loading(folder):
            processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
            model, info = BlipForQuestionAnswering.from_pretrained(
                folder,
                dtype=recipe.dtype,
                local_files_only=True,
                use_safetensors=True,
                ignore_mismatched_sizes=True,  # so that they are named below
                output_loading_info=True,
            )
        # Published folders hold buffers that the class no longer has.
        check_loading_info(folder, {**info, "unexpected_keys": ()})
        return cls(model.to(device), processor, recipe, bundle_sha(folder))

    @torch.inference_mode()
    def probabilities(
        self, pictures: Sequence[Pixels], questions: Sequence[str], picture_of: Sequence[int]
    ) -> list[float | JudgeError]:
        """Return p(yes) / (p(yes) + p(no)); question q is about `picture_of[q]`.

        Each picture is encoded once. A question that is too long has no answer.

        Raises:
            EvaluationError: If a probability is not finite.
        """
        if len(questions) != len(picture_of):
            raise ValueError(f"{len(questions)} questions, {len(picture_of)} indices of pictures")
        if not questions:
            return []
        features_BTD = torch.cat(
            [self._see(pictures[start : start + CHUNK]) for start in _starts(pictures)]
        )
        tokens = [self._processor.tokenizer(question)["input_ids"] for question in questions]
        most = self._model.config.text_config.max_position_embeddings
        answers: list[float | JudgeError] = [
            JudgeError(f"BLIP takes a question of {most} tokens, not of {len(ids)}")
            for ids in tokens
        ]
        for group in _of_one_length(tokens, most):
            asked_QT = torch.tensor([tokens[index] for index in group])
            seen_QTD = features_BTD[[picture_of[index] for index in group]]
            found = p_yes(self._answer_logits(seen_QTD, asked_QT), self._tokens)
            for index, p in zip(group, found, strict=True):
                answers[index] = p
        return answers

    def _see(self, pictures: Sequence[Pixels]) -> Tensor:
        inputs = self._processor.image_processor(
            [Image.fromarray(picture) for picture in pictures], return_tensors="pt"
        ).to(self._model.device, dtype=self._model.dtype)
        features_BTD: Tensor = self._model.vision_model(**inputs).last_hidden_state
        return features_BTD

    def _answer_logits(self, features_QTD: Tensor, asked_QT: Tensor) -> Tensor:
        model = self._model
        read_QTD = model.text_encoder(
            input_ids=asked_QT.to(model.device), encoder_hidden_states=features_QTD
        ).last_hidden_state
        begin_Q1 = torch.full((len(asked_QT), 1), model.decoder_start_token_id)
        logits_QV: Tensor = model.text_decoder(
            input_ids=begin_Q1.to(model.device), encoder_hidden_states=read_QTD
        ).logits[:, -1]
        return logits_QV.float().cpu()


def _of_one_length(tokens: Sequence[Sequence[int]], most: int) -> list[list[int]]:
    """Return the positions of questions that may go together, at most `CHUNK` of them."""
    groups: dict[int, list[int]] = {}
    for index, question in enumerate(tokens):
        if len(question) <= most:
            groups.setdefault(len(question), []).append(index)
    return [group[start : start + CHUNK] for group in groups.values() for start in _starts(group)]


def _starts(items: Sequence[Any]) -> range:
    return range(0, len(items), CHUNK)
