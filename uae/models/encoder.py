"""The encoder: Qwen2.5-VL, which writes captions and reads them.

Captions are sampled with a key-value cache whose prompt part is computed once per image and then
shared by the image's group. Positions are Qwen's three-dimensional ones (time, row, column),
always given explicitly: left to itself, transformers' model infers wrong ones without
`mm_token_type_ids`, or keeps those of an earlier call.

Shape letters: P images, N sequences (P x G), T and L tokens, D width, V vocabulary.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache
from transformers.models.qwen2.tokenization_qwen2 import Qwen2Tokenizer
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLForConditionalGeneration
from transformers.utils.logging import disable_progress_bar

from uae.errors import ModelError
from uae.models.bundle import load_transformers, loading, read_json, write_json
from uae.models.image_processor import ImageProcessor
from uae.models.lora import LoraHost

CAPTION_PROMPT = (
    "Describe the image so that it can be generated again. "
    "Transcribe any text in it in double quotes."
)
GENERATE_ROLE = "generate"
LORA_TARGETS = (
    r".*language_model\.layers\.\d+\."
    r"(self_attn\.(q_proj|k_proj|v_proj|o_proj)|mlp\.(gate_proj|up_proj|down_proj))"
)
_SUPPRESSED_LOGIT = -1e30  # not the lowest float: dividing by a temperature must not overflow
_SENTINEL = "caption"  # any word: only the template around it is kept


class CaptionPrompts(NamedTuple):
    """What the model is asked for P images; all prompts are equally long."""

    input_ids: Tensor  # (P, T)
    attention_mask: Tensor  # (P, T), all ones
    pixel_values: Tensor  # (P * patches, values of a patch)
    image_grid_thw: Tensor  # (P, 3)


class PromptState(NamedTuple):
    """The model after it has read prompts: ready to write, or to be told what was written."""

    cache: Any  # transformers' DynamicCache over the prompt's tokens
    last_hidden_PD: Tensor  # predicts the first token
    next_position: int  # of the first token, the same in time, row and column


class Encoder(LoraHost):
    """Qwen2.5-VL with its tokenizer and image processor; adapters on the language model."""

    def __init__(self, model: Any, tokenizer: Any, image_processor: ImageProcessor) -> None:
        super().__init__(model, LORA_TARGETS)
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.image_processor = image_processor
        self._prefix_ids, self._suffix_ids = _template(tokenizer)
        self._suppressed: Tensor | None = None

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = self.model.device
        return device

    @property
    def width(self) -> int:
        """D, the width of a hidden state."""
        width: int = self.model.config.text_config.hidden_size
        return width

    @property
    def num_template_tokens(self) -> int:
        """Tokens that the chat turn adds to a caption that is read."""
        return len(self._prefix_ids) + len(self._suffix_ids)

    @property
    def num_prefix_tokens(self) -> int:
        """Tokens of the chat turn that stand before a caption that is read."""
        return len(self._prefix_ids)

    def caption_prompt(self, images_PCHW: Tensor) -> CaptionPrompts:
        """Ask for a caption of each image.

        Args:
            images_PCHW: RGB in [0, 1], all of one size, so that all prompts are equally long.

        Raises:
            ModelError: If it is not one tensor of RGB images.
        """
        if not isinstance(images_PCHW, Tensor) or images_PCHW.shape[1:2] != (3,):
            shape = getattr(images_PCHW, "shape", type(images_PCHW).__name__)
            raise ModelError(f"images must be one tensor (P, 3, H, W) of equal sizes, got {shape}")
        pixel_values, grid = self.image_processor.patches(images_PCHW.to(self.device))
        tokens_per_image = int(grid[0].prod()) // self.image_processor.merge_size**2
        ids = torch.tensor(self._prompt_ids(tokens_per_image), device=self.device)
        ids = ids.expand(len(images_PCHW), -1)
        return CaptionPrompts(ids, torch.ones_like(ids), pixel_values, grid)

    def image_features(self, prompts: CaptionPrompts) -> Tensor:
        """Run the vision tower once per image: features (P, image tokens, D)."""
        tower = self.model.model.visual
        features: Tensor = tower(
            prompts.pixel_values.to(tower.dtype), grid_thw=prompts.image_grid_thw
        ).pooler_output
        return features.reshape(len(prompts.input_ids), -1, features.shape[-1])

    def read_prompts(self, prompts: CaptionPrompts, features_PTD: Tensor) -> PromptState:
        """Let the language model read the prompts, with the active adapters."""
        ids = prompts.input_ids
        is_image = ids[0] == self.model.config.image_token_id
        first = int(is_image.int().argmax())
        last = first + features_PTD.shape[1]
        embedded = self._embed(ids)
        embedded = torch.cat(
            [embedded[:, :first], features_PTD.to(embedded.dtype), embedded[:, last:]], dim=1
        )
        positions, delta = self.model.model.get_rope_index(
            ids[:1],
            mm_token_type_ids=is_image[None].int(),
            image_grid_thw=prompts.image_grid_thw[:1],
        )
        cache = DynamicCache(config=self.model.config.text_config)
        hidden = self._language_model(embedded, positions.expand(-1, len(ids), -1), cache)
        return PromptState(cache, hidden[:, -1], ids.shape[1] + int(delta))

    def read_tokens(self, cache: Any, ids_NL: Tensor, first_position: int) -> Tensor:
        """Let the language model read on from a cache, which grows: hidden states (N, L, D)."""
        count, length = ids_NL.shape
        positions = torch.arange(first_position, first_position + length, device=ids_NL.device)
        return self._language_model(self._embed(ids_NL), positions.expand(3, count, -1), cache)

    def logits(self, hidden_D: Tensor) -> Tensor:
        """Return float32 logits (..., V); tokens that no caption may hold get -1e30.

        Suppressed are all special tokens but the end of turn (an `<|image_pad|>` in a caption
        would be taken for a picture) and the rows of the vocabulary that stand for no token.
        """
        logits: Tensor = self.model.lm_head(hidden_D).float()
        return logits.masked_fill(self._suppressed_tokens(), _SUPPRESSED_LOGIT)

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Return each text's own tokens, without a template; special tokens' names are text."""
        if not texts:
            return []
        ids: list[list[int]] = self.tokenizer(
            list(texts), add_special_tokens=False, split_special_tokens=True
        ).input_ids
        return ids

    def hidden_states(
        self,
        texts: Sequence[str],
        *,
        max_tokens: int | None = None,
        overlong: Literal["error", "truncate"] = "error",
    ) -> tuple[Tensor, Tensor]:
        """Read texts, each in a chat turn with role "generate", without any image.

        Args:
            texts: Taken literally: the name of a special token in them is ordinary text.
            max_tokens: Limit on the turn's tokens; none by default.
            overlong: What to do with a longer text: refuse it, or drop its last tokens.

        Returns:
            The last layer's normalised hidden states (B, T, D), template tokens included, and
            the mask (B, T), bool, true for real tokens. T is the longest turn's length.

        Raises:
            ModelError: If a text is too long and is to be refused.
        """
        turns = [self._turn(ids, max_tokens, overlong) for ids in self.token_ids(texts)]
        length = max(len(turn) for turn in turns)
        # Padding on the right: causal attention keeps it from the real tokens without a mask.
        ids = torch.full((len(turns), length), self.tokenizer.pad_token_id)
        mask = torch.zeros(ids.shape, dtype=torch.bool)
        for row, turn in enumerate(turns):
            ids[row, : len(turn)] = torch.tensor(turn)
            mask[row, : len(turn)] = True
        positions = torch.arange(length, device=self.device).expand(3, len(turns), -1)
        hidden = self._language_model(self._embed(ids.to(self.device)), positions, None)
        return hidden, mask.to(self.device)

    def save(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """Write model, tokenizer and image processor without adapters."""
        state = {name: t.to(dtype) for name, t in self.base_state_dict().items()}
        if self.model.config.tie_word_embeddings:
            del state["lm_head.weight"]  # a second name for the embedding
        disable_progress_bar()
        self.model.save_pretrained(folder, state_dict=state)
        self.tokenizer.save_pretrained(folder)
        self.image_processor.save(folder)
        _make_independent_of_loading(folder, dtype)

    @classmethod
    def load(cls, folder: Path, device: str | torch.device = "cpu") -> Self:
        """Read an encoder, frozen, in float32.

        Raises:
            ModelError: If something is missing, unexpected or of another shape.
        """
        disable_progress_bar()
        model = load_transformers(Qwen2_5_VLForConditionalGeneration, folder)
        with loading(folder):
            tokenizer = Qwen2Tokenizer.from_pretrained(folder, local_files_only=True)
        return cls(model.to(device), tokenizer, ImageProcessor.load(folder))

    def _embed(self, ids: Tensor) -> Tensor:
        embedded: Tensor = self.model.model.language_model.embed_tokens(ids)
        return embedded

    def _language_model(self, embedded_NTD: Tensor, positions_3NT: Tensor, cache: Any) -> Tensor:
        hidden: Tensor = self.model.model.language_model(
            inputs_embeds=embedded_NTD,
            position_ids=positions_3NT,
            past_key_values=cache,
            use_cache=cache is not None,
        ).last_hidden_state
        return hidden

    def _turn(self, ids: list[int], limit: int | None, overlong: str) -> list[int]:
        room = len(ids) if limit is None else limit - self.num_template_tokens
        if len(ids) > room and overlong == "error":
            raise ModelError(
                f"a caption of {len(ids)} tokens is too long: the condition holds {room}; "
                f"shorten it. It begins {self.tokenizer.decode(ids[:12])!r}"
            )
        return [*self._prefix_ids, *ids[:room], *self._suffix_ids]

    def _prompt_ids(self, tokens_per_image: int) -> list[int]:
        content = [{"type": "image"}, {"type": "text", "text": CAPTION_PROMPT}]
        rendered = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        ids = self.tokenizer(rendered, add_special_tokens=False).input_ids
        place = ids.index(self.model.config.image_token_id)
        return [*ids[:place], *[ids[place]] * tokens_per_image, *ids[place + 1 :]]

    def _suppressed_tokens(self) -> Tensor:
        if self._suppressed is None:
            suppressed = torch.zeros(self.model.config.text_config.vocab_size, dtype=torch.bool)
            suppressed[len(self.tokenizer) :] = True
            added = self.tokenizer.added_tokens_decoder
            suppressed[[i for i, token in added.items() if token.special]] = True
            suppressed[self.tokenizer.eos_token_id] = False
            self._suppressed = suppressed.to(self.device)
        return self._suppressed


def _template(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Return what the chat turn puts before and after a caption that is read."""
    turn = [{"role": GENERATE_ROLE, "content": [{"type": "text", "text": _SENTINEL}]}]
    rendered = tokenizer.apply_chat_template(turn, tokenize=False)
    before, _, after = rendered.rpartition(_SENTINEL)
    prefix, suffix = tokenizer([before, after], add_special_tokens=False).input_ids
    return prefix, suffix


def _make_independent_of_loading(folder: Path, dtype: torch.dtype) -> None:
    """Give the same model the same files, wherever and in whatever precision it was loaded."""
    config = read_json(folder / "config.json")
    for section in (config, config["text_config"], config["vision_config"]):
        section.pop("dtype", None)  # so that it comes last in every case
        section["dtype"] = str(dtype).removeprefix("torch.")
    write_json(folder / "config.json", config)
    tokenizer = read_json(folder / "tokenizer_config.json")
    for key in ("is_local", "local_files_only"):
        tokenizer.pop(key, None)
    write_json(folder / "tokenizer_config.json", tokenizer)
