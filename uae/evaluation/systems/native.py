"""What the unified models of transformers share: strict loading, captions, seeds, text that fits.

One request is answered at a time. In a batch, padding and the shapes of the matrix products change
the last bits of the scores, and one changed bit is enough to draw another token: a caption or a
picture would then depend on what was asked for beside it, and on how the work was sharded.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers.generation.utils import GenerationMixin

from uae.errors import EvaluationError, ModelError
from uae.evaluation.seeding import seeded
from uae.evaluation.systems.base import Failure, Overlong
from uae.models.bundle import check_loading_info, loading, read_json
from uae.recipe import CaptioningRecipe


class Native(NamedTuple):
    """A model of transformers with its processor."""

    model: Any
    processor: Any

    @property
    def max_tokens(self) -> int:
        """The longest sequence that it was made for, a picture's tokens included."""
        return int(self.model.config.get_text_config().max_position_embeddings)


def native_folder(path: str, model_type: str) -> Path:
    """Return the folder of a model in `save_pretrained` layout.

    Raises:
        ModelError: If there is none, or it holds another architecture, naming what was found.
    """
    folder = Path(path)
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"no {model_type} weights at {path} (it has no config.json); give a local folder in "
            "transformers' save_pretrained layout: nothing is downloaded"
        )
    config = read_json(folder / "config.json")
    found = config.get("model_type") if isinstance(config, dict) else None
    if found != model_type:
        raise ModelError(
            f"{folder} holds a model of type {found!r}, not {model_type!r} (model_type in "
            "config.json); give weights that were converted to transformers' own classes"
        )
    return folder


def load_native(
    model_class: Any, processor_class: Any, folder: Path, *, dtype: str, device: torch.device
) -> Native:
    """Read a model and its processor, strictly, frozen and in eval mode.

    Raises:
        ModelError: If something cannot be read (pickled weights never are), or a tensor is
            missing, unexpected or of another shape.
    """
    with loading(folder):
        processor = processor_class.from_pretrained(folder, local_files_only=True)
        model, info = model_class.from_pretrained(
            folder,
            dtype=dtype,
            ignore_mismatched_sizes=True,  # so that they are named below
            output_loading_info=True,
            local_files_only=True,
            use_safetensors=True,
        )
    check_loading_info(folder, info)
    model = model.to(device).requires_grad_(False).eval()
    refuse_broken_scores(model.lm_head, folder)
    return Native(model, processor)


def refuse_broken_scores(head: nn.Module, folder: Path) -> None:
    """Make a head of token scores raise where it gives NaN or infinity.

    The most likely token of such scores is token 0, again and again: it would pass for a caption.
    """

    def check(head: nn.Module, _: Any, scores: Tensor) -> None:
        if not torch.isfinite(scores).all():
            dtype = next(head.parameters()).dtype
            raise EvaluationError(
                f"{folder} scores tokens with NaN or infinity in {dtype}: its weights are broken, "
                "or too large for this dtype; try bfloat16 or float32"
            )

    head.register_forward_hook(check)


def sampling(temperature: float) -> dict[str, Any]:
    """Return transformers' settings: greedy at 0, else the tempered distribution, not cut off.

    They are explicit, since transformers would else keep the 50 most likely tokens.
    """
    if temperature == 0:
        return {"do_sample": False, "num_beams": 1}
    return {
        "do_sample": True,
        "num_beams": 1,
        "temperature": temperature,
        "top_k": 0,
        "top_p": 1.0,
    }


def chat_text(processor: Any, conversation: list[dict[str, Any]]) -> str:
    """Return a conversation as the model was taught to read it, up to its own turn.

    Raises:
        ModelError: If the folder has no chat template.
    """
    if not processor.chat_template:
        raise ModelError(
            f"{type(processor).__name__} has no chat template; put chat_template.jinja beside the "
            "weights: in another form the model was not taught to answer"
        )
    return str(processor.apply_chat_template(conversation, add_generation_prompt=True))


@torch.inference_mode()
def write_caption(
    native: Native, inputs: Any, settings: CaptioningRecipe, *, seed: int, place: str
) -> str:
    """Write one caption, without guidance.

    Args:
        native: The model.
        inputs: Its processor's output for one conversation with one picture.
        settings: Length and temperature.
        seed: Of sampling; greedy decoding ignores it.
        place: Of the request, for messages.

    Raises:
        EvaluationError: If question, picture and caption are longer than the model can read, or
            its scores are not finite.
    """
    device = native.model.device
    inputs = inputs.to(device=device, dtype=native.model.dtype)  # dtype of the pixels only
    length = inputs["input_ids"].shape[1]
    if length + settings.max_new_tokens > native.max_tokens:
        raise EvaluationError(
            f"{place}: question and picture take {length} tokens and the caption up to "
            f"{settings.max_new_tokens}, but the model was made for {native.max_tokens}; lower "
            "captioning.max_new_tokens"
        )
    with seeded(seed, device):
        # Janus's own `generate` comes to the same call, but warns at every caption.
        tokens = GenerationMixin.generate(
            native.model,
            **inputs,
            max_new_tokens=settings.max_new_tokens,
            guidance_scale=None,
            **sampling(settings.temperature),
        )
    text = native.processor.tokenizer.decode(tokens[0, length:], skip_special_tokens=True)
    return str(text).strip()


def fit_text(
    text: str,
    tokenizer: Any,
    num_tokens: Callable[[str], int],
    room: int,
    *,
    overlong: Overlong,
    place: str,
) -> str | Failure:
    """Return a text, cut at its end if need be, whose whole prompt leaves room for the picture.

    One that is too long and may not be cut is a failure.

    Args:
        text: What is to be painted.
        tokenizer: The model's.
        num_tokens: Length of the whole prompt around a text.
        room: The most tokens that the prompt may have.
        overlong: Whether a text that is too long may be cut.
        place: Of the request, for messages.

    Raises:
        EvaluationError: If not even an empty text fits.
    """
    excess = num_tokens(text) - room
    if excess <= 0:
        return text
    if num_tokens("") > room:
        raise EvaluationError(f"{place}: the model has no room for a text beside a picture")
    tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
    if overlong == "error":
        fitting = max(len(tokens) - excess, 0)
        return Failure(
            f"the text is cut: {fitting} of {len(tokens)} tokens have room beside a picture"
        )
    while excess > 0:
        tokens = tokens[: max(len(tokens) - excess, 0)]
        text = tokenizer.decode(tokens).rstrip("\ufffd")  # a character cut in half
        excess = num_tokens(text) - room
    return text


def finite(image: Tensor, place: str) -> Tensor:
    """Return a decoded picture in 32 bit.

    Raises:
        EvaluationError: If a value is not finite: a broken decoder must not look like a picture.
    """
    if not torch.isfinite(image).all():
        raise EvaluationError(f"{place}: the picture holds NaN or infinity")
    return image.float()
