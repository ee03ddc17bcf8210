"""The decoder as a policy: its adapters, and the loss that a recipe's objective makes of rollouts.

Shape letters: P pictures, G trajectories for each, N = P x G, C, H, W of latents.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from uae.flow_matching.path import interpolate
from uae.flow_matching.schedule import sampling_times
from uae.objectives.diffusion_nft import diffusion_nft_loss
from uae.objectives.flow_grpo import flow_grpo_loss
from uae.objectives.grpo_guard import grpo_guard_loss
from uae.objectives.loss import Loss
from uae.recipe import DiffusionNftRecipe, FlowGrpoRecipe, GrpoGuardRecipe
from uae.rollouts.images import ImageRollout, replay_steps
from uae.rollouts.rescoring import mean_gap, rescore_steps
from uae.stages.setting import Setting
from uae.training.share import Part
from uae.training.update import PartLosses

POLICY = "understanding_for_generation"
_OLD = "old_policy"


class DrawingPolicy:
    """A new adapter on the decoder. With it off, the decoder is the reference.

    DiffusionNFT draws with a slowly updated copy of it, the old policy, which is a second
    adapter; the other objectives draw with the adapter itself.
    """

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._section = setting.recipe.understanding_for_generation
        self._decoder = setting.model.decoder
        self.trained = setting.add_lora(self._decoder, POLICY, self._section.lora)
        self._has_old = isinstance(self._section.objective, DiffusionNftRecipe)
        if self._has_old:
            with setting.shards.gathered():
                self._decoder.copy_lora(POLICY, _OLD)
        old = self._decoder.lora_parameters(_OLD) if self._has_old else {}
        self.extra: Mapping[str, Tensor] = {f"{_OLD}/{name}": p for name, p in old.items()}

    @property
    def ratio_tolerance(self) -> float | None:
        """The recipe's, or None for the objective that has no ratio."""
        return None if self._has_old else self._section.ratio_tolerance

    def drawing(self) -> AbstractContextManager[None]:
        """Context in which the decoder draws rollouts."""
        return self._decoder.use_adapters([_OLD if self._has_old else POLICY])

    def losses(self, rollout: ImageRollout, advantages_PG: Tensor, step: int) -> PartLosses:
        """Return the objective's loss of a rollout, part by part.

        The KL to the start of the stage is measured where it has a weight, and at update 0,
        where it must be 0.
        """
        objective = self._section.objective
        if isinstance(objective, DiffusionNftRecipe):
            return self._contrastive_losses(rollout, advantages_PG, step, objective)
        return self._trajectory_losses(rollout, advantages_PG, step, objective)

    @torch.no_grad()
    def follow(self) -> None:
        """Move the old policy, where there is one, towards the new: decay x old + rest x new."""
        objective = self._section.objective
        if isinstance(objective, DiffusionNftRecipe):
            for name, parameter in self.trained.items():
                old = self.extra[f"{_OLD}/{name}"]
                old.lerp_(parameter, 1 - objective.old_policy_decay)

    def merge(self) -> None:
        """Merge the policy into the decoder in float32, and forget the old one."""
        if self._has_old:
            self._decoder.remove_lora(_OLD)
        self._decoder.merge_lora(POLICY)

    def _trajectory_losses(
        self,
        rollout: ImageRollout,
        advantages_PG: Tensor,
        step: int,
        objective: FlowGrpoRecipe | GrpoGuardRecipe,
    ) -> PartLosses:
        """One loss for each step of the window; their mean is the minibatch's loss.

        Where blocks compute in bfloat16 the old log-probs and means are the trainer's own: those
        of the first minibatch come from its only pass, the others' are computed before any moves.
        """
        is_rounded = self._setting.recipe.models.computes_in_bfloat16
        later = self._setting.share.rows_of_later_minibatches if is_rounded else []
        rollout = rescore_steps(self._decoder, rollout, later)

        def part_losses(part: Part) -> Iterator[Loss]:
            groups = rollout.part(part.rows.start, part.rows.stop)
            advantages_N = advantages_PG[part.rows].flatten()
            for w in range(groups.window_size):
                scored = replay_steps(self._decoder, groups, w)
                reference_mean = None
                if objective.kl_weight > 0 or step == 0:
                    with torch.no_grad(), self._decoder.disabled(POLICY):
                        reference_mean = replay_steps(self._decoder, groups, w).mean
                old, gap = (groups.log_probs_NW[:, w], groups.means_NWCHW[:, w]), {}
                if is_rounded and part.minibatch == 0:
                    gap = {"rollout/mean_gap": mean_gap(scored, old[1])}
                    old = (scored.log_prob.detach(), scored.mean.detach())
                drawn = (*old, advantages_N)
                if isinstance(objective, FlowGrpoRecipe):
                    loss = flow_grpo_loss(scored, *drawn, objective, reference_mean)
                else:
                    loss = grpo_guard_loss(scored, *drawn, objective, reference_mean)
                metrics = loss.metrics | gap
                yield Loss(loss.loss / (groups.window_size * part.num_parts), metrics)

        return part_losses

    def _contrastive_losses(
        self,
        rollout: ImageRollout,
        advantages_PG: Tensor,
        step: int,
        objective: DiffusionNftRecipe,
    ) -> PartLosses:
        """One loss for each drawn time; the pictures are noised afresh for each."""
        group = self._section.rollout.group_size
        noise, times = self._noised_anew(step, objective.num_times)

        def part_losses(part: Part) -> Iterator[Loss]:
            groups = rollout.part(part.rows.start, part.rows.stop)
            rows = slice(part.rows.start * group, part.rows.stop * group)
            for k in range(objective.num_times):
                t_N = times[k, rows]
                x = interpolate(groups.final_latents_NCHW, noise[k, rows], t_N)
                with torch.no_grad():
                    with self._decoder.use_adapters([_OLD]):
                        old = self._velocity(groups, x, t_N)
                    with self._decoder.use_adapters([]):
                        reference = self._velocity(groups, x, t_N)
                with self._decoder.use_adapters([POLICY]):
                    velocity = self._velocity(groups, x, t_N)
                loss = diffusion_nft_loss(
                    velocity,
                    old,
                    reference,
                    x,
                    t_N,
                    groups.final_latents_NCHW,
                    advantages_PG[part.rows].flatten(),
                    objective,
                )
                yield Loss(loss.loss / (objective.num_times * part.num_parts), loss.metrics)

        return part_losses

    def _velocity(self, rollout: ImageRollout, x_NCHW: Tensor, t_N: Tensor) -> Tensor:
        return self._decoder.velocity(x_NCHW, t_N, rollout.context_NTD).float()

    def _noised_anew(self, step: int, num_times: int) -> tuple[Tensor, Tensor]:
        """Draw noise (K, N, C, H, W) and times (K, N), the times from the sampler's own."""
        setting, share = self._setting, self._setting.share
        count = share.num_samples * self._section.rollout.group_size
        noise = setting.noise(num_times * count, step, "renoise")
        noise = noise.reshape(num_times, count, *noise.shape[1:])
        schedule = sampling_times(self._section.rollout.num_steps, self._decoder.shift)[:-1]
        chosen = torch.randint(
            len(schedule), (num_times, count), generator=setting.generator(step, "times")
        )
        times = torch.tensor(schedule)[chosen].to(setting.device)
        return share.rows(noise, dim=1), share.rows(times, dim=1)
