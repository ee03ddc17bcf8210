"""The pieces of work that updates are made of, each traced once for a size.

Shape letters: P pictures, N captions or trajectories, L tokens of a caption.
"""

from __future__ import annotations

import torch
from torch import Tensor

from uae.flow_matching.ode import sample_ode
from uae.flow_matching.sde import step_fn
from uae.models.captioning import score_captions
from uae.planning.frozen_works import FrozenWorks
from uae.planning.meta_models import META
from uae.planning.trace import Cost
from uae.recipe import ImageRolloutRecipe, SamplerRecipe


class Works(FrozenWorks):
    """Costs of the pieces of work of one stage's models, training included."""

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
            ids = torch.empty(num_pictures * group_size, num_tokens, dtype=torch.long, device=META)
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


def _backward(loss: Tensor) -> None:
    loss.backward()  # type: ignore[no-untyped-call]
