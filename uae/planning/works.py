"""The pieces of work that updates are made of, each traced once for a size.

Shape letters: P pictures, N captions or trajectories, L tokens of a caption.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from uae.flow_matching.ode import sample_ode
from uae.flow_matching.sde import step_fn
from uae.models.captioning import continue_captions, score_captions
from uae.models.encoder import CaptionPrompts
from uae.planning.meta_models import META, MetaEncoder
from uae.planning.stage_models import StageModels
from uae.planning.trace import Cost, trace
from uae.recipe import ImageRolloutRecipe, SamplerRecipe

_CAPTION = torch.long


@dataclass(frozen=True)
class Writing:
    """Sampling N captions token by token, all of them to their greatest length."""

    cost: Cost  # peak without the key-value cache
    cache_bytes: int  # at the end
    bytes_read: int  # weights and cache, token by token: what bounds the time


class Works:
    """Costs of the pieces of work of one stage's models."""

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

    def logits_bytes(self, num_captions: int, num_tokens: int) -> int:
        """One float32 tensor of logits; scoring makes several."""
        return int(num_captions * num_tokens * self.encoder.model.config.text_config.vocab_size * 4)

    def train_velocity(self, num_pictures: int) -> Cost:
        """A pass of Stage 1: connector and decoder, forward and backward."""
        width, tokens = self.encoder.width, self.model.condition_tokens

        def call() -> None:
            hidden = torch.empty(num_pictures, tokens, width, device=META)
            mask = torch.ones(num_pictures, tokens, dtype=torch.bool, device=META)
            noise = self._noise(num_pictures)
            context = self.model.connect(hidden, mask)
            velocity = self.model.decoder.velocity(noise, 0.5, context).float()
            _backward(((velocity - noise) ** 2).mean())

        return self._known_or(("train velocity", num_pictures), call)

    def train_reconstruction(self, num_pictures: int, num_steps: int, num_tokens: int) -> Cost:
        """A pass of cold start: one step is traced with all else, the others alone."""
        one = self._reconstruct(num_pictures, num_tokens)
        more, step = num_steps - 1, self._differentiated_step(num_pictures)
        kept = 2 * self._noise(1).nbytes * num_pictures  # latents between the steps
        total = one + step.times(more)
        return Cost(total.flops, one.peak_bytes + more * kept, total.float32_flops)

    def train_captions(
        self, num_pictures: int, group_size: int, num_tokens: int, *, has_reference: bool
    ) -> Cost:
        """A pass of caption GRPO: scoring under the policy, and the reference's scoring."""

        def scored(ids: Tensor) -> Tensor:
            prompts = self._prompts(num_pictures)
            features = torch.empty_like(self._features(num_pictures))
            mask = torch.ones(ids.shape, device=META)
            return score_captions(
                self.encoder, prompts, features, ids, mask, temperature=1.0
            ).log_probs_NL

        def call() -> None:
            ids = torch.empty(num_pictures * group_size, num_tokens, dtype=_CAPTION, device=META)
            policy = scored(ids)
            if has_reference:
                with torch.no_grad(), self.encoder.use_adapters([]):
                    reference = scored(ids)
                policy = policy - reference
            _backward(policy.mean())

        key = ("train captions", num_pictures, group_size, num_tokens, has_reference)
        return self._known_or(key, call)

    def train_step(
        self, num_trajectories: int, rollout: ImageRolloutRecipe, *, has_reference: bool
    ) -> Cost:
        """A pass of Flow-GRPO on one step of a window, and the reference's velocity."""
        guided = rollout.guidance_scale > 1

        def scored(x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
            velocity = self.model.decoder.velocity_fn(
                context,
                guidance_scale=rollout.guidance_scale,
                negative_1TD=self._context(1) if guided else None,
            )(x, 0.5)
            step = step_fn(rollout.step)(
                velocity, x, t=0.5, t_next=0.4, t_max=0.9, noise_level=0.5, x_next_BCHW=x
            )
            return step.mean, step.log_prob

        def call() -> None:
            x, context = self._noise(num_trajectories), self._context(num_trajectories)
            mean, log_prob = scored(x, context)
            if has_reference:
                with torch.no_grad(), self.model.decoder.use_adapters([]):
                    reference, _ = scored(x, context)
                log_prob = log_prob - ((mean - reference) ** 2).mean(dim=(1, 2, 3))
            _backward(log_prob.mean())

        key = ("train step", num_trajectories, guided, rollout.step, has_reference)
        return self._known_or(key, call)

    def train_contrast(self, num_trajectories: int) -> Cost:
        """A pass of DiffusionNFT at one time: old policy, reference, and the policy's gradient."""

        def call() -> None:
            decoder = self.model.decoder
            x, context = self._noise(num_trajectories), self._context(num_trajectories)
            with torch.no_grad():
                old = decoder.velocity(x, 0.5, context).float()
                with decoder.use_adapters([]):
                    reference = decoder.velocity(x, 0.5, context).float()
            velocity = decoder.velocity(x, 0.5, context).float()
            _backward(((velocity - old) ** 2 + (velocity - reference) ** 2).mean())

        return self._known_or(("train contrast", num_trajectories), call)

    def _reconstruct(self, num_pictures: int, num_tokens: int) -> Cost:
        def call() -> None:
            context = (
                self._in_context(num_pictures, num_pictures, num_tokens)
                if self.model.condition_source == "in_context"
                else self._read(num_pictures, num_tokens)
            )
            sampler = SamplerRecipe(num_steps=1, guidance_scale=1.0)
            images = self.model.generate_from_condition(
                context, self._noise(num_pictures), sampler, checkpoint=True
            )
            _backward(self.models.score(images).mean())

        return self._known_or(("reconstruct", num_pictures, num_tokens), call)

    def _differentiated_step(self, num_pictures: int) -> Cost:
        """A step of the sampler whose latents and condition pass the gradient on."""

        def call() -> None:
            x = self._noise(num_pictures).requires_grad_(True)
            context = self._context(num_pictures).requires_grad_(True)
            velocity_fn = self.model.decoder.velocity_fn(context)
            _backward(sample_ode(velocity_fn, x, [0.5, 0.4], checkpoint=True).mean())

        return self._known_or(("differentiated step", num_pictures), call)

    def _write_token(self, num_captions: int, cached: int) -> Cost:
        def call() -> Any:
            ids = torch.empty(num_captions, 1, dtype=_CAPTION, device=META)
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
        ids = torch.empty(num_captions, length, dtype=_CAPTION, device=META)
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


def _backward(loss: Tensor) -> None:
    loss.backward()  # type: ignore[no-untyped-call]
