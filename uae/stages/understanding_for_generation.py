"""Understanding for generation (UfG): the decoder learns to draw what its encoder writes.

The frozen encoder's caption of a picture conditions a group of denoising trajectories; a
drawing's reward is how alike it and the picture are. Trajectories better than their group's mean
become likelier: by the log-probs of their stochastic steps (Flow-GRPO, GRPO-Guard), or by
contrast in the forward process (DiffusionNFT).

Groups belong to samples, never to caption texts: two pictures with one caption are two groups.

Shape letters: P pictures, G trajectories for each, N = P x G, W trained steps of a trajectory,
T condition tokens, D width, C, H, W of latents.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from uae.data.dataset import Samples
from uae.objectives.advantages import group_advantages
from uae.recipe import Recipe, SamplerRecipe
from uae.rewards.combine import Rewards, drawing_reward
from uae.rewards.reconstruction import ReconstructionScorer
from uae.rollouts.images import ImageRollout, rollout_images
from uae.seeds import derive_seed
from uae.stages.caption_conditions import conditions_of, count_captions
from uae.stages.drawing_policy import DrawingPolicy
from uae.stages.setting import Setting, open_setting, whole_rewards
from uae.training.checkpoint import Checkpoints
from uae.training.loop import SET_ASIDE_REWARD, Run
from uae.training.update import update_parameters

if TYPE_CHECKING:
    from uae.store.s3 import Store

STAGE: Final = "understanding_for_generation"


def train(
    recipe: Recipe, data: Path, model_in: Path, model_out: Path, *,
    checkpoints: Checkpoints | None = None, log_dir: Path | None = None,
    store: "Store | None" = None,
) -> dict[str, float]:  # fmt: skip
    """Train the decoder on its own drawings, and write the merged bundle to `model_out`.

    Args:
        recipe: Its section `understanding_for_generation` decides, `objective.kind` above all.
        data: Folder with the splits `train` and `heldout`.
        model_in: Bundle to start from.
        model_out: Where the trained bundle goes.
        checkpoints: Where to keep checkpoints and resume from; None keeps none.
        log_dir: Where metrics.jsonl and tensorboard/ go; None writes neither.
        store: Opens streamed shards in a bucket; see `open_setting`.

    Returns:
        The last update's metrics.

    Raises:
        DataError: If a split is missing or damaged.
        ModelError: If the bundle or the scorer is missing or damaged.
        TrainingError: If the first ratio after a rollout is not 1, the KL before update 0 not 0,
            a number is not finite, or a checkpoint is of no use.
    """
    section = recipe.understanding_for_generation
    with open_setting(STAGE, recipe, data, model_in, store) as setting:
        scorer = setting.scorer(section.rewards.scorer)
        pictures = CaptionedPictures(setting, scorer, setting.train, setting.used())
        policy = DrawingPolicy(setting)
        run = Run(
            STAGE,
            recipe,
            policy.trained,
            inputs=setting.inputs,
            share=setting.share,
            measure=early_stopping_measure(setting, scorer),
            extra=policy.extra,
            checkpoints=checkpoints,
            log_dir=log_dir,
        )
        with run:
            for step in run.steps():
                update(setting, run, pictures, policy, step)
        summary = run.finish()
        setting.assemble()
        policy.merge()
        setting.save(model_out)
    return summary


def update(
    setting: Setting, run: Run, pictures: "CaptionedPictures", policy: DrawingPolicy, step: int
) -> None:
    """Draw groups of trajectories, reward them, and move the policy."""
    batch, own = setting.batch(step)
    with policy.drawing(), setting.shards.gathered():
        rollout = draw_groups(setting, pictures, own, step)
    rewards = whole_rewards(setting.share, pictures.rewards(rollout.images_NCHW, own))
    losses = policy.losses(rollout, advantages(setting, rewards), step)
    tolerance, ids = policy.ratio_tolerance, setting.ids(batch)
    metrics = update_parameters(run, step, losses, ids, ratio_tolerance=tolerance)
    if not run.skipped.has(step):
        policy.follow()
    metrics |= rewards.metrics(setting.recipe.understanding_for_generation.rollout.group_size)
    metrics |= setting.data.metrics()
    run.record(metrics, num_images=len(rewards.total_N))


class CaptionedPictures:
    """Pictures with their captions' conditions and their features, both of frozen models."""

    def __init__(
        self,
        setting: Setting,
        scorer: ReconstructionScorer,
        dataset: Samples,
        indices: Sequence[int] | None,
    ) -> None:
        self._setting, self._scorer, self._dataset = setting, scorer, dataset
        self._features = setting.rows(
            dataset, indices, lambda i: (scorer.features(setting.images(dataset, i)),)
        )
        self._conditions = conditions_of(setting, dataset, indices)
        section = setting.recipe.understanding_for_generation
        with torch.no_grad():
            guided = section.rollout.guidance_scale > 1
            self.negative_1TD = setting.model.negative_condition() if guided else None

    def contexts(self, indices: Sequence[int], step: int) -> Tensor:
        """Return one caption's condition for each picture, (P, T, D).

        Where captions are sampled, there are several for each picture, and every update draws
        one of them by the picture's id.
        """
        section = self._setting.recipe.understanding_for_generation
        seed, count = self._setting.recipe.seed, count_captions(section)
        chosen = [
            derive_seed(seed, STAGE, step, "caption", self._dataset[index].image_id) % count
            for index in indices
        ]
        return self._conditions.of(indices, chosen)

    def rewards(self, images_NCHW: Tensor, indices: Sequence[int]) -> Rewards:
        """Reward N drawings of P pictures; drawing n = p * G + g is of picture p."""
        (features_PD,) = self._features.of(indices)
        features = features_PD.repeat_interleave(len(images_NCHW) // len(indices), dim=0)
        with torch.no_grad():
            return drawing_reward(self._scorer.score(images_NCHW, features))


def draw_groups(
    setting: Setting, pictures: CaptionedPictures, indices: Sequence[int], step: int
) -> ImageRollout:
    """Let the decoder draw a group of trajectories from each picture's caption."""
    return rollout_images(
        setting.model.decoder,
        pictures.contexts(indices, step),
        setting.recipe.understanding_for_generation.rollout,
        setting.share.draws(setting.generator(step, "trajectories")),
        image_size=setting.model.image_size,
        negative_1TD=pictures.negative_1TD,
    )


def advantages(setting: Setting, rewards: Rewards) -> Tensor:
    """Return (reward - mean of its group) / std over the whole batch, clipped, (P, G).

    The rewards are the whole batch's, the advantages those of this process's pictures.
    """
    section = setting.recipe.understanding_for_generation
    rewards_PG = rewards.total_N.reshape(-1, section.rollout.group_size)
    limit = section.objective.max_advantage
    return setting.share.rows(group_advantages(rewards_PG, scale="batch", max_advantage=limit))


def early_stopping_measure(
    setting: Setting, scorer: ReconstructionScorer
) -> Callable[[], dict[str, float]] | None:
    """Return the measurement for early stopping: the ODE's drawings of captions set aside.

    They are of training pictures that no update sees. The split `heldout` is not looked at:
    choosing weights by the pictures that Unified-Bench judges would flatter them.
    """
    section = setting.recipe.understanding_for_generation
    if section.early_stopping is None:
        return None
    dataset, indices = setting.set_aside(section.early_stopping.num_samples)
    pictures = CaptionedPictures(setting, scorer, dataset, indices)
    sampler = SamplerRecipe(
        num_steps=section.rollout.num_steps, guidance_scale=section.rollout.guidance_scale
    )

    def measure() -> dict[str, float]:
        noise_PCHW = setting.noise(len(indices), "heldout")
        contexts_PTD = pictures.contexts(indices, 0)
        images = setting.model.generate_from_condition(contexts_PTD, noise_PCHW, sampler)
        return {SET_ASIDE_REWARD: pictures.rewards(images, indices).total_N.mean().item()}

    return measure
