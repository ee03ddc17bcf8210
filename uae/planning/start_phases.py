"""What a stage does before its first update, as phases of one of its processes."""

from __future__ import annotations

from uae.models.bundle import Stage
from uae.planning.frozen_phases import condition, features, in_chunks, read_pairs, write
from uae.planning.phase import Load, Phase
from uae.recipe import UnderstandingForGenerationRecipe
from uae.stages.setting import CHUNK

NUM_BASE_CAPTIONS = 2 * CHUNK  # of the starting model, whose length is GfU's measure


def start_phases(stage: Stage, load: Load, num_samples: int) -> list[Phase]:
    """Return what this process does before the first update, in order; processes take turns.

    Where samples are streamed, what frozen models give belongs to the updates. What is measured on
    held-out samples is not planned.

    Args:
        stage: Which stage.
        load: The process's part of it.
        num_samples: Training samples that the stage's updates see, all processes together.
    """
    recipe, num_processes = load.recipe, load.share.world.size
    chunks = in_chunks(num_samples, num_processes)
    if stage == "generation_for_understanding":
        size, times = in_chunks(min(NUM_BASE_CAPTIONS, num_samples), num_processes)
        longest = recipe.generation_for_understanding.rollout.max_new_tokens
        based = write(load, size, size, longest, times=times)
        return based if load.is_streamed else [*based, features(load, chunks)]
    if load.is_streamed:
        return []
    if stage == "pretrain_decoder":
        return [read_pairs(load, chunks)]
    size, times = chunks
    if stage == "cold_start":
        written = write(load, size, size, recipe.cold_start.max_new_tokens, times=times)
        return [*written, features(load, chunks)]
    section = recipe.understanding_for_generation
    longest, is_greedy = written_tokens(section), section.captions == "greedy"
    book = write(load, size, size, longest, times=times, is_greedy=is_greedy)
    book.append(condition(load, size, size, longest, times=times))
    books = 1 if section.captions == "greedy" else section.captions.group_size
    return [features(load, chunks), *book * books]


def written_tokens(section: UnderstandingForGenerationRecipe) -> int:
    """Return how many tokens a caption that UfG draws from has at most."""
    how = section.captions
    return section.max_new_tokens if how == "greedy" else how.max_new_tokens
