"""The pieces of work that frozen models do, each traced once for a size.

Shape letters: P pictures, N captions or trajectories, L tokens of a caption.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from uae.models.captioning import continue_captions
from uae.models.encoder import CaptionPrompts
from uae.planning.meta_models import META, MetaEncoder
from uae.planning.stage_models import StageModels
from uae.planning.trace import Cost, trace


@dataclass(frozen=True)
class Writing:
    """Sampling N captions token by token, all of them to their greatest length."""

    cost: Cost  # peak without the key-value cache
    cache_bytes: int  # at the end
    bytes_read: int  # weights and cache, token by token: what bounds the time


class FrozenWorks:
    """Costs of what one stage's models do without gradients."""

    def __init__(self, models: StageModels) -> None:
        self.models, self.model = models, models.model
        self.encoder: MetaEncoder = models.model.encoder  # type: ignore[assignment]
        self._known: dict[tuple[Any, ...], Any] = {}

    @property
    def cache_dtype(self) -> torch.dtype:
        """In which the language model's layers compute, and keep keys and values."""
        layers = self.encoder.model.model.language_model.layers
        dtype: torch.dtype = layers[0].input_layernorm.weight.dtype
        return dtype

    def encode_images(self, num_pictures: int) -> Cost:
        """The VAE, from pictures to latents."""
        return self._frozen(
            ("vae encode", num_pictures),
            lambda: self.model.decoder.encode_images(self._images(num_pictures)),
        )

    def decode_latents(self, num_pictures: int) -> Cost:
        """The VAE, from latents to pictures."""
        return self._frozen(
            ("vae decode", num_pictures),
            lambda: self.model.decoder.decode_latents(self._noise(num_pictures)),
        )

    def score(self, num_pictures: int) -> Cost:
        """The scorer's features."""
        return self._frozen(
            ("score", num_pictures), lambda: self.models.score(self._images(num_pictures))
        )

    def velocity(self, num_trajectories: int, *, guided: bool) -> Cost:
        """One step of a sampler; with guidance twice as many go through the decoder."""
        count = num_trajectories * (2 if guided else 1)
        return self._frozen(
            ("velocity", count),
            lambda: self.model.decoder.velocity_fn(self._context(count), is_bounded=True)(
                self._noise(count), 0.5
            ),
        )

    def read_captions(self, num_captions: int, num_tokens: int) -> Cost:
        """Reading captions as text, and the connector."""
        return self._frozen(
            ("read", num_captions, num_tokens), lambda: self._read(num_captions, num_tokens)
        )

    def read_in_context(self, num_pictures: int, num_captions: int, num_tokens: int) -> Cost:
        """Reading captions after their pictures, and the connector."""
        return self._frozen(
            ("in context", num_pictures, num_captions, num_tokens),
            lambda: self._in_context(num_pictures, num_captions, num_tokens),
        )

    def look(self, num_pictures: int) -> Cost:
        """The vision tower and the prompt, once for each picture; the prompt's cache is kept."""

        def call() -> Any:
            prompts = self._prompts(num_pictures)
            return self.encoder.read_prompts(prompts, self.encoder.image_features(prompts))

        return self._frozen(("look", num_pictures), call)

    def write(self, num_captions: int, num_tokens: int) -> Writing:
        """Sample captions; the first and the last token are traced, the others lie between."""
        prompt = self._prompts(1).input_ids.shape[1]
        first, last = (
            self._write_token(num_captions, prompt + done) for done in (0, max(num_tokens - 1, 0))
        )
        total = (first + last).times(num_tokens / 2)
        final = self.cache_bytes(num_captions, prompt + num_tokens)
        mean_length = prompt + (num_tokens - 1) / 2
        parameters = self.encoder.base_parameters().items()
        weights = sum(p.nbytes for name, p in parameters if "visual." not in name)
        cache_read = self.cache_bytes(num_captions, 1) * mean_length
        return Writing(
            Cost(total.flops, max(last.peak_bytes - final, 0), total.float32_flops),
            final,
            int(num_tokens * (weights + cache_read)),
        )

    def cache_bytes(self, num_captions: int, num_tokens: int) -> int:
        """Keys and values of so many tokens of so many captions, in all layers."""
        config = self.encoder.model.config.text_config
        heads = config.num_key_value_heads
        width = getattr(config, "head_dim", None) or (
            config.hidden_size // config.num_attention_heads
        )
        per_token = 2 * config.num_hidden_layers * heads * width * self.cache_dtype.itemsize
        return int(per_token * num_captions * num_tokens)

    def folded_bytes(self) -> int:
        """The encoder's layers that carry adapters, once more: greedy writing adds them up.

        None where they are kept in bfloat16, in which it does not.
        """
        if self.cache_dtype != torch.float32:
            return 0
        return sum(layer.weight.nbytes for layer in self.encoder.lora_layers())

    def _write_token(self, num_captions: int, cached: int) -> Cost:
        def call() -> Any:
            ids = torch.empty(num_captions, 1, dtype=torch.long, device=META)
            hidden = self.encoder.read_tokens(self._cache(num_captions, cached), ids, cached)[:, 0]
            log_probs = torch.log_softmax(self.encoder.logits(hidden), dim=-1)
            return log_probs.double().exp().cumsum(dim=-1)

        return self._frozen(("write", num_captions, cached), call)

    def _read(self, num_captions: int, num_tokens: int) -> Tensor:
        tokens = min(num_tokens + self.encoder.num_template_tokens, self.model.condition_tokens)
        with self.model.reading():
            hidden, mask = self.encoder.read_texts(num_captions, tokens)
        return self.model.connect(hidden, mask)

    def _in_context(self, num_pictures: int, num_captions: int, num_tokens: int) -> Tensor:
        length = min(num_tokens, self.model.condition_tokens)
        ids = torch.empty(num_captions, length, dtype=torch.long, device=META)
        with self.model.reading():
            state = self.encoder.read_prompts(
                self._prompts(num_pictures), self._features(num_pictures)
            )
            hidden = continue_captions(self.encoder, state, ids)
        return self.model.connect(hidden, torch.ones(ids.shape, dtype=torch.bool, device=META))

    def _cache(self, num_captions: int, num_tokens: int) -> Any:
        config = self.encoder.model.config.text_config
        width = config.hidden_size // config.num_attention_heads
        shape = (num_captions, config.num_key_value_heads, num_tokens, width)
        cache = DynamicCache(config=config)
        for layer in range(config.num_hidden_layers):
            keys = torch.empty(shape, dtype=self.cache_dtype, device=META)
            cache.update(keys, torch.empty_like(keys), layer)
        return cache

    def _prompts(self, num_pictures: int) -> CaptionPrompts:
        return self.encoder.prompts(num_pictures, self.model.image_size)

    def _features(self, num_pictures: int) -> Tensor:
        prompts, merge = self._prompts(1), self.encoder.image_processor.merge_size**2
        tokens = len(prompts.pixel_values) // merge
        return torch.empty(num_pictures, tokens, self.encoder.width, device=META)

    def _images(self, count: int) -> Tensor:
        return torch.empty(count, 3, self.model.image_size, self.model.image_size, device=META)

    def _noise(self, count: int) -> Tensor:
        return torch.empty(count, *self.models.latents, device=META)

    def _context(self, count: int) -> Tensor:
        width = self.model.connector.sizes["out_features"]
        tokens = self.model.condition_tokens
        return torch.empty(count, tokens, width, device=META)

    def _frozen(self, key: tuple[Any, ...], call: Callable[[], Any]) -> Cost:
        def without_gradient() -> Any:
            with torch.no_grad():
                return call()

        return self._known_or(key, without_gradient)

    def _known_or(self, key: tuple[Any, ...], call: Callable[[], Any]) -> Cost:
        if key not in self._known:
            self._known[key] = trace(call)
        cost: Cost = self._known[key]
        return cost
