"""Generation for understanding (GfU): the encoder learns to write what its decoder can draw.

For each picture the policy writes a group of captions; the frozen decoder draws every caption,
and a caption's reward is how alike its drawing and the picture are, minus the guards. Captions
better than their group's mean become likelier (GRPO).

All captions of a group are drawn from the same initial noises, so that the advantage is about
the caption and not about the seed. With `condition_adapter: stage_start` the decoder gets the
caption as the encoder read it at the start of the stage, so the same caption always earns the
same reward; with `current`, as in arXiv:2509.09666, the encoder that is trained also reads.

Shape letters: P pictures, G captions for each, N = P x G, M noises, U different captions,
L caption tokens.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn

from uae.data.words import count_words
from uae.objectives.advantages import group_advantages
from uae.objectives.caption_grpo import caption_grpo_loss
from uae.objectives.loss import Loss
from uae.recipe import Recipe
from uae.rewards.combine import Rewards
from uae.rewards.reconstruction import ReconstructionScorer
from uae.rollouts.captions import CaptionRollout, caption_log_probs, rollout_captions
from uae.rollouts.rescoring import rescore_captions, token_gap
from uae.stages.caption_book import write_book
from uae.stages.caption_judge import Judge
from uae.stages.setting import CHUNK, Setting, open_setting, whole_rewards
from uae.stages.token_draws import token_draws
from uae.training.checkpoint import Checkpoints
from uae.training.loop import SET_ASIDE_REWARD, Run
from uae.training.share import Part, Share
from uae.training.update import PartLosses, update_parameters

if TYPE_CHECKING:
    from uae.store.s3 import Store

STAGE: Final = "generation_for_understanding"
_NUM_BASE_CAPTIONS = 2 * CHUNK  # whose length is the length guard's measure


def train(
    recipe: Recipe, data: Path, model_in: Path, model_out: Path, *,
    checkpoints: Checkpoints | None = None, log_dir: Path | None = None,
    store: "Store | None" = None,
) -> dict[str, float]:  # fmt: skip
    """Train the encoder's captions with GRPO, and write the bundle to `model_out`.

    The trained adapter is kept apart, as the caption adapter that is active only while captions
    are written, or merged into the encoder where `condition_adapter` is `current`.

    Args:
        recipe: Its section `generation_for_understanding` decides.
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
    section = recipe.generation_for_understanding
    with open_setting(STAGE, recipe, data, model_in, store) as setting:
        scorer, base_words = setting.scorer(section.rewards.scorer), mean_base_words(setting)
        judge = Judge(setting, scorer, setting.train, setting.used(), base_words)
        run = Run(
            STAGE,
            recipe,
            add_policy(setting),
            inputs=setting.inputs,
            share=setting.share,
            measure=early_stopping_measure(setting, scorer, base_words),
            checkpoints=checkpoints,
            log_dir=log_dir,
        )
        with run:
            for step in run.steps():
                update(setting, run, judge, step)
        summary = run.finish()
        setting.assemble()
        keep_policy(setting)
        setting.save(model_out)
    return summary


def update(setting: Setting, run: Run, judge: Judge, step: int) -> None:
    """Write groups of captions, reward them, and move the policy."""
    share, tolerance = setting.share, setting.recipe.generation_for_understanding.ratio_tolerance
    batch, own = setting.batch(step)
    images, ids = setting.images(setting.train, own), setting.ids(batch)
    rollout = write_groups(setting, images, step)
    rewards = whole_rewards(share, judge.rewards(rollout, own, images, step))
    losses = grpo_losses(setting, rollout, rewards, step)
    metrics = update_parameters(run, step, losses, ids, ratio_tolerance=tolerance)
    metrics |= rewards.metrics(rollout.group_size) | caption_lengths(setting, rollout)
    metrics |= setting.data.metrics()
    run.record(metrics, num_images=len(batch), num_tokens=share.total(rollout.num_tokens))


def add_policy(setting: Setting) -> dict[str, nn.Parameter]:
    """Add the adapter that is trained to the encoder; with it off, the encoder is as it was."""
    section, model = setting.recipe.generation_for_understanding, setting.model
    trained = setting.add_lora(model.encoder, STAGE, section.lora)
    if section.condition_adapter == "stage_start":
        model.caption_adapters.append(STAGE)
    return trained


def keep_policy(setting: Setting) -> None:
    """Merge the adapter into the encoder where it also reads; else it stays beside it."""
    if setting.recipe.generation_for_understanding.condition_adapter == "current":
        setting.model.encoder.merge_lora(STAGE)


def write_groups(setting: Setting, images_PCHW: Tensor, step: int) -> CaptionRollout:
    """Let the policy write a group of captions for each picture."""
    recipe = setting.recipe.generation_for_understanding.rollout
    generator = setting.generator(step, "captions")
    draws = token_draws(setting.share, generator, recipe)
    with setting.shards.gathered(), draws as levels:
        rollout = rollout_captions(setting.model.encoder, images_PCHW, recipe, levels)
    # Captions of one token would spare a process a pass that the others make.
    return rollout.padded(2) if setting.shards else rollout


def grpo_losses(
    setting: Setting, rollout: CaptionRollout, rewards: Rewards, step: int
) -> PartLosses:
    """Return the GRPO loss of a rollout, part by part.

    The KL to the start of the stage is measured where it has a weight, and at update 0, where it
    must be 0. Where blocks compute in bfloat16 the old log-probs are the trainer's own: those of
    the first minibatch come from its only pass, the others' are computed before anything moves.
    """
    section, encoder = setting.recipe.generation_for_understanding, setting.model.encoder
    share, temperature = setting.share, section.rollout.temperature
    advantages_PG = group_advantages(
        rewards.total_N.reshape(-1, rollout.group_size),
        scale="group" if section.objective.scale_by_std else "none",
    )
    own_advantages_PG = share.rows(advantages_PG)
    num_tokens = tokens_in_minibatches(share, rollout)
    num_captions = len(rewards.total_N) // len(num_tokens)  # in each minibatch
    is_rounded = setting.recipe.models.computes_in_bfloat16
    later = share.rows_of_later_minibatches if is_rounded else []
    rollout = rescore_captions(encoder, rollout, later, temperature=temperature)

    def part_losses(part: Part) -> Iterator[Loss]:
        groups = rollout.part(part.rows.start, part.rows.stop)
        policy = caption_log_probs(encoder, groups, temperature=temperature)
        old_log_probs_NL, gap = groups.log_probs_NL, {}
        if is_rounded and part.minibatch == 0:
            old_log_probs_NL = policy.log_probs_NL.detach()
            gap = {"rollout/token_gap": token_gap(old_log_probs_NL, groups)}
        reference_NL = None
        if section.objective.kl_weight > 0 or step == 0:
            with torch.no_grad(), encoder.disabled(STAGE):
                scored = caption_log_probs(encoder, groups, temperature=temperature)
            reference_NL = scored.log_probs_NL
        loss = caption_grpo_loss(
            policy.log_probs_NL,
            old_log_probs_NL,
            own_advantages_PG[part.rows].flatten(),
            groups.mask_NL,
            section.objective,
            reference_NL,
            num_tokens=num_tokens[part.minibatch],
            num_captions=num_captions,
        )
        entropy = (policy.entropy_NL.sum() / groups.mask_NL.sum()).item()
        yield loss._replace(metrics=loss.metrics | {"entropy": entropy} | gap)

    return part_losses


def tokens_in_minibatches(share: Share, rollout: CaptionRollout) -> list[int]:
    """Return the number of tokens of each minibatch, of all processes' captions."""
    own = [rollout.part(parts[0].rows.start, parts[-1].rows.stop) for parts in share.minibatches]
    return [share.total(minibatch.num_tokens) for minibatch in own]


def caption_lengths(setting: Setting, rollout: CaptionRollout) -> dict[str, float]:
    """Return the mean numbers of words and tokens, and the share cut off before their end."""
    end_id, device = setting.model.encoder.tokenizer.eos_token_id, rollout.mask_NL.device
    ended = (rollout.completion_ids_NL == end_id) & (rollout.mask_NL > 0)
    words_N = torch.tensor([count_words(text) for text in rollout.texts], device=device)
    words_N, tokens_N, ended_N = setting.share.whole(
        words_N, rollout.mask_NL.sum(dim=1), ended.any(dim=1)
    )
    return {
        "caption_words": int(words_N.sum()) / len(words_N),
        "caption_tokens": int(tokens_N.sum()) / len(tokens_N),
        "caption_cut_share": 1 - ended_N.float().mean().item(),
    }


def mean_base_words(setting: Setting) -> float:
    """Return how many words the starting model writes greedily, on some training pictures."""
    max_new_tokens = setting.recipe.generation_for_understanding.rollout.max_new_tokens
    dataset, indices = setting.data.some_used(_NUM_BASE_CAPTIONS)
    book = write_book(setting, dataset, indices, max_new_tokens=max_new_tokens)
    return max(book.mean_words(), 1.0)  # a model that writes nothing may still write a word


def early_stopping_measure(
    setting: Setting, scorer: ReconstructionScorer, base_words: float
) -> Callable[[], dict[str, float]] | None:
    """Return the measurement for early stopping: the reward of greedy captions.

    They are of training pictures set aside, which no update sees: choosing weights by the split
    `heldout`, which Unified-Bench judges, would flatter them.
    """
    section = setting.recipe.generation_for_understanding
    if section.early_stopping is None:
        return None
    dataset, indices = setting.set_aside(section.early_stopping.num_samples)
    judge = Judge(setting, scorer, dataset, indices, base_words)
    max_new_tokens = section.rollout.max_new_tokens

    def measure() -> dict[str, float]:
        book = write_book(setting, dataset, indices, max_new_tokens=max_new_tokens)
        images = setting.images(dataset, indices)
        rewards = judge.rewards(book.of(indices), indices, images, "heldout")
        return {
            SET_ASIDE_REWARD: rewards.total_N.mean().item(),
            "set_aside/caption_words": book.mean_words(),
        }

    return measure
