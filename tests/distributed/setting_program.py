"""What a stage's setting gives a process: captions it writes, rows it keeps of a cache."""

import json
from pathlib import Path
from unittest import mock

import torch
from stage_world import World, stage_recipe

from uae.stages.caption_book import write_book
from uae.stages.generation_for_understanding import STAGE, write_groups
from uae.stages.setting import Setting, open_setting
from uae.training.distribution import join_world

LIKELIER_END = 4.0  # added to the logit of a caption's end: a share of about 0.15 of 340 tokens
CHUNK = 5  # samples that are computed at once, so that there are several turns


def found_in(world: World) -> dict[str, list]:
    """Return the tokens of this process's captions, its cache, and a book that all write."""
    recipe = stage_recipe(
        world,
        STAGE,
        num_updates=1,
        batch_size=12,
        num_minibatches=2,
        rollout={"group_size": 3, "max_new_tokens": 40},
    )
    with (
        mock.patch("uae.stages.setting.CHUNK", CHUNK),
        open_setting(STAGE, recipe, world.data, world.bundle) as setting,
    ):
        end_captions_early(setting)
        _, own = setting.batch(0)
        rollout = write_groups(setting, setting.images(setting.train, own), 0)
        captions = zip(rollout.completion_ids_NL, rollout.mask_NL.bool(), strict=True)
        rows = setting.rows(setting.train, setting.used(), lambda i: (latents(setting, i),))
        heldout = list(range(len(setting.heldout)))
        book = write_book(setting, setting.heldout, heldout, max_new_tokens=8, temperature=1.0).of(
            heldout
        )
        return {
            "own": own,
            "captions": [ids[real].tolist() for ids, real in captions],
            "kept": rows.kept,
            "rows": rows.of(rows.kept)[0].tolist(),
            "book": [book.completion_ids_NL.tolist(), book.log_probs_NL.tolist(), book.texts],
        }


def end_captions_early(setting: Setting) -> None:
    encoder = setting.model.encoder
    plain, end = encoder.logits, encoder.tokenizer.eos_token_id

    def logits(hidden: torch.Tensor) -> torch.Tensor:
        found = plain(hidden)
        found[..., end] += LIKELIER_END
        return found

    encoder.logits = logits


def latents(setting: Setting, indices: list[int]) -> torch.Tensor:
    return setting.model.decoder.encode_images(setting.images(setting.train, indices))


def main_with_other_data(world: World, other: Path) -> None:
    with join_world(2) as processes:
        found_in(world if processes.is_main else world._replace(data=other))


def main(world: World, folder: Path, size: int) -> None:
    with join_world(size) as processes:
        (folder / f"{processes.rank}.json").write_text(json.dumps(found_in(world)))
