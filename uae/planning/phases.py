"""What the stages do in an update on each GPU, as phases with their costs.

Shape letters: P pictures, N captions or trajectories, both of one process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from uae.models.bundle import Stage
from uae.planning.frozen_phases import (
    as_large_as,
    condition,
    features,
    in_chunks,
    pair_bytes,
    read_pairs,
    write,
)
from uae.planning.phase import FLOAT, TRAIN, Load, Phase
from uae.planning.start_phases import written_tokens
from uae.planning.trace import NOTHING, Cost
from uae.recipe import DiffusionNftRecipe


def update_phases(stage: Stage, load: Load) -> list[Phase]:
    """Return what one update does, in order."""
    phases: dict[Stage, Callable[[Load], list[Phase]]] = {
        "pretrain_decoder": _pretrain_decoder,
        "cold_start": _cold_start,
        "generation_for_understanding": _generation_for_understanding,
        "understanding_for_generation": _understanding_for_generation,
    }
    return phases[stage](load)


def _pretrain_decoder(load: Load) -> list[Phase]:
    trained = load.works.train_velocity(load.part_size).times(load.num_passes)
    if not load.is_streamed:
        return [_train(trained, 2 * load.num_passes)]
    held = {"pairs": load.num_pictures * pair_bytes(load)}
    return [
        read_pairs(load, in_chunks(load.num_pictures), held),
        _train(trained, 2 * load.num_passes, held=held),
    ]


def _cold_start(load: Load) -> list[Phase]:
    section = load.recipe.cold_start
    limit = section.max_new_tokens
    tokens = load.mean_tokens(limit)
    cost = load.works.train_reconstruction(load.part_size, section.num_sampling_steps, tokens)
    longest = load.works.train_reconstruction(load.part_size, section.num_sampling_steps, limit)
    done = as_large_as(longest, cost).times(load.num_passes)
    steps = load.num_passes * section.num_sampling_steps
    held = {"pictures": _picture_bytes(load, load.num_pictures)}
    trained = _train(done, 3 * steps, 2 * load.num_passes, held)  # steps: once more, recomputed
    if not load.is_streamed:
        return [trained]
    size, times = chunks = in_chunks(load.num_pictures)
    written = write(load, size, size, limit, times=times, is_greedy=True)
    return [features(load, chunks), *written, trained]


def _generation_for_understanding(load: Load) -> list[Phase]:
    section, works = load.recipe.generation_for_understanding, load.works
    group, longest = section.rollout.group_size, section.rollout.max_new_tokens
    num_captions = load.num_pictures * group
    tokens = load.mean_tokens(longest)
    has_reference = section.objective.kl_weight > 0
    cost = works.train_captions(load.part_size, group, tokens, has_reference=has_reference)
    largest = works.train_captions(load.part_size, group, longest, has_reference=has_reference)
    logits = works.logits_bytes(load.part_size * group, longest)
    seen = [features(load, in_chunks(load.num_pictures))] if load.is_streamed else []
    return [
        *write(load, load.num_pictures, num_captions, longest),
        *seen,
        *_draw_captions(load, in_chunks(num_captions)),
        Phase(
            TRAIN,
            as_large_as(largest, cost, but=logits).times(load.num_passes),
            {"logits": logits},
            encoder_passes=(3 if has_reference else 2) * load.num_passes,
        ),
    ]


def _draw_captions(load: Load, chunks: tuple[int, int]) -> list[Phase]:
    """Draw and score captions in chunks; equal captions are not taken into account."""
    section, works = load.recipe.generation_for_understanding, load.works
    count, times = chunks
    pictures = count * section.num_noises
    steps, guided = section.sampler.num_steps, section.sampler.guidance_scale > 1
    longest = section.rollout.max_new_tokens
    per_picture = min(section.rollout.group_size, count)
    read = condition(load, max(count // per_picture, 1), count, longest, times=times)
    velocity = works.velocity(pictures, guided=guided).times(steps * times)
    judged = (works.decode_latents(pictures) + works.score(pictures)).times(times)
    return [
        read,
        Phase("draw", velocity, is_whole=True),
        Phase("decode and score", judged, is_whole=True),
    ]


def _understanding_for_generation(load: Load) -> list[Phase]:
    section, works = load.recipe.understanding_for_generation, load.works
    rollout, objective = section.rollout, section.objective
    group = rollout.group_size
    count, part = load.num_pictures * group, load.part_size * group
    guided = rollout.guidance_scale > 1
    shared = rollout.window_start_max / 2 if rollout.shared_initial_noise else 0  # mean
    alone = works.velocity(load.num_pictures, guided=guided) if shared else NOTHING
    whole = works.velocity(count, guided=guided)
    drawing = alone.times(shared) + whole.times(rollout.num_steps - shared)
    judged = works.decode_latents(count) + works.score(count)
    held = _trajectories(load, count)
    if isinstance(objective, DiffusionNftRecipe):
        one, steps, passes = works.train_contrast(part), objective.num_times, 4
    else:
        has_reference = objective.kl_weight > 0
        one = works.train_step(part, rollout, has_reference=has_reference)
        steps, passes = rollout.window_size, 3 if has_reference else 2
    trained = one.times(steps * load.num_passes)
    drawn = {key: size for key, size in held.items() if key != "pictures"}
    late, seen = _conditions(load), []
    if load.is_streamed:  # of the originals, when the drawings are there
        seen = [features(load, in_chunks(load.num_pictures), held)]
    return [
        *late,
        Phase("draw", drawing, drawn, is_whole=True, num_gatherings=0 if late else 1),
        *seen,
        Phase("decode and score", judged, held, is_whole=True),
        _train(trained, steps * load.num_passes * passes, held=held),
    ]


def _conditions(load: Load) -> list[Phase]:
    """Those of an update's captions where samples are streamed; models stay gathered after it."""
    if not load.is_streamed:
        return []
    section = load.recipe.understanding_for_generation
    size, times = in_chunks(load.num_pictures)
    longest, is_greedy = written_tokens(section), section.captions == "greedy"
    return [
        *write(load, size, size, longest, times=times, is_greedy=is_greedy),
        condition(load, size, size, longest, times=times, num_gatherings=0),
    ]


def _trajectories(load: Load, count: int) -> dict[str, int]:
    """Bytes of a rollout of N trajectories, which stays until the update ends."""
    rollout = load.recipe.understanding_for_generation.rollout
    channels, height, width = load.works.models.latents
    latents = (rollout.window_size + 1) + rollout.window_size + 1  # points, means, final
    model = load.works.model
    context = model.condition_tokens * model.connector.sizes["out_features"]
    return {
        "trajectories": count * latents * channels * height * width * FLOAT,
        "conditions": count * context * FLOAT,
        "pictures": _picture_bytes(load, count),
    }


def _picture_bytes(load: Load, count: int) -> int:
    return count * 3 * load.works.model.image_size**2 * FLOAT


def _train(
    cost: Cost,
    decoder_passes: int,
    encoder_passes: int = 0,
    held: Mapping[str, int] | None = None,
) -> Phase:
    return Phase(
        TRAIN,
        cost,
        held or {},
        encoder_passes=encoder_passes,
        decoder_passes=decoder_passes,
    )
