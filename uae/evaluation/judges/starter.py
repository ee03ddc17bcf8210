"""A yes/no judge of pictures: a Qwen2.5-VL that compares p(yes) with p(no) on its next token.

Training a judge and asking it go through the same `build_questions`, so it is never asked in a form
that it was not taught. Shape letters: Q questions, T tokens, V vocabulary.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers.models.qwen2.tokenization_qwen2 import Qwen2Tokenizer
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLForConditionalGeneration

from uae.errors import EvaluationError, ModelError
from uae.evaluation.judges.base import INSTRUCTION, JudgeError
from uae.evaluation.judges.files import check_judge
from uae.evaluation.pictures import Pixels, to_images
from uae.models.bundle import bundle_sha, load_transformers, loading
from uae.models.image_processor import ImageProcessor

IMAGE_TOKEN = "<|image_pad|>"


class JudgeInputs(NamedTuple):
    """Questions about pictures, padded on the left; each picture stands here once."""

    input_ids_QT: Tensor
    attention_mask_QT: Tensor
    image_of_Q: Tensor  # question -> row of image_grid_thw
    pixel_values: Tensor  # all pictures' patches, one after another
    image_grid_thw: Tensor  # (pictures, 3)


def question_messages(question: str) -> list[dict[str, Any]]:
    """Return the chat turn that asks one question about one picture."""
    content = [{"type": "image"}, {"type": "text", "text": f"{question} {INSTRUCTION}"}]
    return [{"role": "user", "content": content}]


def build_questions(
    tokenizer: Any,
    image_processor: ImageProcessor,
    pictures: Sequence[Pixels],
    questions: Sequence[str],
    picture_of: Sequence[int],
) -> JudgeInputs:
    """Tokenise questions and pictures; the next token of every row is the answer.

    Args:
        tokenizer: With Qwen2.5-VL's special tokens and a chat template.
        image_processor: With the judge's patch size.
        pictures: 8-bit RGB, all of one size.
        questions: Q texts.
        picture_of: For each question, the index of its picture.
    """
    patches, grids = image_processor.patches(to_images(pictures))
    num_tokens = int(grids[0].prod()) // image_processor.merge_size**2
    texts = [
        tokenizer.apply_chat_template(
            question_messages(question), tokenize=False, add_generation_prompt=True
        ).replace(IMAGE_TOKEN, IMAGE_TOKEN * num_tokens)
        for question in questions
    ]
    padded = tokenizer(texts, padding=True, padding_side="left", return_tensors="pt")
    return JudgeInputs(
        padded["input_ids"],
        padded["attention_mask"],
        torch.tensor(list(picture_of)),
        patches,
        grids,
    )


def answer_ids(tokenizer: Any) -> tuple[int, int]:
    """Return the token ids of "yes" and "no".

    Raises:
        ModelError: If one of them is not a single token.
    """
    ids = [tokenizer(word, add_special_tokens=False)["input_ids"] for word in ("yes", "no")]
    if any(len(tokens) != 1 for tokens in ids):
        raise ModelError(f"a judge's tokenizer must hold 'yes' and 'no' as one token, got {ids}")
    return ids[0][0], ids[1][0]


def answer_logits(model: Qwen2_5_VLForConditionalGeneration, inputs: JudgeInputs) -> Tensor:
    """Return the next token's logits (Q, V), differentiable; every picture is encoded once."""
    features = model.get_image_features(inputs.pixel_values, inputs.image_grid_thw)
    per_image = features if isinstance(features, tuple) else features.pooler_output
    image_tokens = torch.cat([per_image[index] for index in inputs.image_of_Q.tolist()])
    is_image = inputs.input_ids_QT == model.config.image_token_id
    embeddings = model.get_input_embeddings()(inputs.input_ids_QT)
    embeddings = embeddings.masked_scatter(is_image[..., None], image_tokens.to(embeddings.dtype))
    positions, _ = model.model.get_rope_index(
        inputs.input_ids_QT,
        mm_token_type_ids=is_image.int(),
        image_grid_thw=inputs.image_grid_thw[inputs.image_of_Q],
        attention_mask=inputs.attention_mask_QT,
    )
    output = model(
        inputs_embeds=embeddings,
        attention_mask=inputs.attention_mask_QT,
        position_ids=positions,
        logits_to_keep=1,
        use_cache=False,
    )
    logits_QV: Tensor = output.logits[:, -1].float()
    return logits_QV


class StarterJudge:
    """A judge stored like a bundle's encoder: Qwen2.5-VL, tokenizer and image processor."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        image_processor: ImageProcessor,
        *,
        identity: dict[str, str],
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.tokenizer, self.image_processor = tokenizer, image_processor
        self.identity = identity
        self.yes_no = list(answer_ids(tokenizer))

    @classmethod
    def load(cls, folder: Path, *, device: torch.device | str = "cpu") -> "StarterJudge":
        """Read a judge.

        Raises:
            ModelError: If the folder is missing, or its weights do not fit its configuration.
        """
        check_judge(folder)
        model = load_transformers(Qwen2_5_VLForConditionalGeneration, folder)
        with loading(folder):
            tokenizer = Qwen2Tokenizer.from_pretrained(folder, local_files_only=True)
        identity = {"kind": "qwen2.5-vl", "sha256": bundle_sha(folder)}
        processor = ImageProcessor.load(folder)
        return cls(model.to(device), tokenizer, processor, identity=identity)

    def probabilities(
        self, pictures: Sequence[Pixels], questions: Sequence[str], picture_of: Sequence[int]
    ) -> list[float | JudgeError]:
        """Return p(yes) / (p(yes) + p(no)); question q is about `picture_of[q]`.

        Raises:
            EvaluationError: If a probability is not finite: that is never a "no".
        """
        answers: dict[int, float] = {}
        for shape in sorted({pictures[index].shape for index in picture_of}):
            asked = [q for q, index in enumerate(picture_of) if pictures[index].shape == shape]
            of_shape = sorted({picture_of[q] for q in asked})
            p_yes = self._of_one_size(
                [pictures[index] for index in of_shape],
                [questions[q] for q in asked],
                [of_shape.index(picture_of[q]) for q in asked],
            )
            answers.update(zip(asked, p_yes, strict=True))
        return [answers[q] for q in range(len(questions))]

    @torch.inference_mode()
    def _of_one_size(
        self, pictures: Sequence[Pixels], questions: Sequence[str], picture_of: Sequence[int]
    ) -> list[float]:
        inputs = build_questions(
            self.tokenizer, self.image_processor, pictures, questions, picture_of
        )
        inputs = JudgeInputs(*(part.to(self.model.device) for part in inputs))
        p_yes_Q = answer_logits(self.model, inputs)[:, self.yes_no].softmax(dim=-1)[:, 0]
        if not torch.isfinite(p_yes_Q).all():
            raise EvaluationError("the judge's probabilities hold NaN: its weights are broken")
        return [*p_yes_Q.tolist()]
