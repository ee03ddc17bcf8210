"""What the stages do in an update on each GPU, and once at their start, as phases with their costs.

Shape letters: P pictures, N captions or trajectories, both of one process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from uae.models.bundle import Stage
from uae.planning.execution import Execution
from uae.planning.trace import NOTHING, Cost
from uae.planning.works import Works
from uae.recipe import DiffusionNftRecipe, Recipe
from uae.stages.setting import CHUNK
from uae.training.share import Share

_FLOAT = 4  # bytes: rollouts, caches and what is trained are float32


@dataclass(frozen=True)
class Phase:
    """A part of an update, or of a stage's start."""

    name: str
    cost: Cost
    held: Mapping[str, int] = field(default_factory=dict)  # other memory, by part
    bytes_read: int = 0  # where reading weights bounds the time, not computing
    encoder_passes: int = 0  # in which a shared-out model's weights are gathered block by block
    decoder_passes: int = 0
    is_whole: bool = False  # shared-out models are gathered as a whole meanwhile
    num_gatherings: int = 0  # how often they are, anew

    @property
    def flops(self) -> int:
        """Operations, of all types."""
        return self.cost.flops

    @property
    def peak_bytes(self) -> int:
        """Memory on top of what the stage holds all the time, gathered models aside."""
        return self.cost.peak_bytes + sum(self.held.values())


@dataclass(frozen=True)
class Load:
    """One process's part of a stage's updates."""

    recipe: Recipe
    share: Share
    works: Works
    execution: Execution
    caption_tokens: int | None  # mean length where it is known; None: every caption is the longest

    @property
    def num_pictures(self) -> int:
        """P: samples of an update that are this process's."""
        return len(self.share.places)

    @property
    def part_size(self) -> int:
        """Samples of one backward pass."""
        rows = self.share.minibatches[0][0].rows
        return int(rows.stop - rows.start)

    @property
    def num_passes(self) -> int:
        """Backward passes of an update."""
        return self.num_pictures // self.part_size

    def mean_tokens(self, longest: int) -> int:
        """Return how long captions are on average."""
        return min(self.caption_tokens or longest, longest)


def update_phases(stage: Stage, load: Load) -> list[Phase]:
    """Return what one update does, in order."""
    phases: dict[Stage, Callable[[Load], list[Phase]]] = {
        "pretrain_decoder": _pretrain_decoder,
        "cold_start": _cold_start,
        "generation_for_understanding": _generation_for_understanding,
        "understanding_for_generation": _understanding_for_generation,
    }
    return phases[stage](load)


def start_phases(stage: Stage, load: Load, chunk: int) -> list[Phase]:
    """Return what is done once for every chunk of samples before the first update."""
    recipe, works = load.recipe, load.works
    if stage == "pretrain_decoder":
        return [_read_pairs(load, chunk, 1)] if load.execution.caches == "kept" else []
    phases = [Phase("features", works.score(chunk), is_whole=True, num_gatherings=1)]
    if stage == "cold_start":
        phases += _write(load, chunk, chunk, recipe.cold_start.max_new_tokens)
    elif stage == "understanding_for_generation":
        section = recipe.understanding_for_generation
        longest = section.max_new_tokens
        if section.captions != "greedy":
            longest = section.captions.max_new_tokens
        written = _write(load, chunk, chunk, longest, is_greedy=section.captions == "greedy")
        books = 1 if section.captions == "greedy" else section.captions.group_size
        phases += [*written * books, _condition(load, chunk, chunk, longest, books)]
    return phases


def _pretrain_decoder(load: Load) -> list[Phase]:
    trained = load.works.train_velocity(load.part_size)
    phases = [_train(trained.times(load.num_passes), 2 * load.num_passes)]
    if load.execution.caches == "streamed":
        phases.insert(0, _read_pairs(load, load.part_size, load.num_passes))
    return phases


def _cold_start(load: Load) -> list[Phase]:
    section = load.recipe.cold_start
    tokens = load.mean_tokens(section.max_new_tokens)
    cost = load.works.train_reconstruction(load.part_size, section.num_sampling_steps, tokens)
    longest = load.works.train_reconstruction(
        load.part_size, section.num_sampling_steps, section.max_new_tokens
    )
    done = _as_large_as(longest, cost).times(load.num_passes)
    steps = load.num_passes * section.num_sampling_steps
    return [_train(done, 3 * steps, 2 * load.num_passes)]  # steps: once more, recomputed


def _generation_for_understanding(load: Load) -> list[Phase]:
    section, works = load.recipe.generation_for_understanding, load.works
    group, longest = section.rollout.group_size, section.rollout.max_new_tokens
    num_captions = load.num_pictures * group
    tokens = load.mean_tokens(longest)
    has_reference = section.objective.kl_weight > 0
    cost = works.train_captions(load.part_size, group, tokens, has_reference=has_reference)
    largest = works.train_captions(load.part_size, group, longest, has_reference=has_reference)
    logits = works.logits_bytes(load.part_size * group, longest)
    drawn = min(CHUNK, num_captions)
    return [
        *_write(load, load.num_pictures, num_captions, longest),
        *_draw_captions(load, drawn, -(-num_captions // drawn)),
        Phase(
            "train",
            _as_large_as(largest, cost, but=logits).times(load.num_passes),
            {"logits": logits},
            encoder_passes=(3 if has_reference else 2) * load.num_passes,
        ),
    ]


def _draw_captions(load: Load, count: int, times: int) -> list[Phase]:
    """Draw and score captions, so many at once; equal captions are not taken into account."""
    section, works = load.recipe.generation_for_understanding, load.works
    pictures = count * section.num_noises
    steps, guided = section.sampler.num_steps, section.sampler.guidance_scale > 1
    longest = section.rollout.max_new_tokens
    per_picture = min(section.rollout.group_size, count)
    read = _condition(load, max(count // per_picture, 1), count, longest, times)
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
    phases = [
        Phase("draw", drawing, drawn, is_whole=True, num_gatherings=1),
        Phase("decode and score", judged, held, is_whole=True),
        _train(trained, steps * load.num_passes * passes, held=held),
    ]
    if load.execution.caches == "streamed":
        longest = section.max_new_tokens
        phases.insert(0, _condition(load, load.num_pictures, load.num_pictures, longest, 1))
    return phases


def _trajectories(load: Load, count: int) -> dict[str, int]:
    """Bytes of a rollout of N trajectories, which stays until the update ends."""
    rollout = load.recipe.understanding_for_generation.rollout
    channels, height, width = load.works.models.latents
    latents = (rollout.window_size + 1) + rollout.window_size + 1  # points, means, final
    model = load.works.model
    condition = model.condition_tokens * model.connector.sizes["out_features"]
    return {
        "trajectories": count * latents * channels * height * width * _FLOAT,
        "conditions": count * condition * _FLOAT,
        "pictures": count * 3 * model.image_size**2 * _FLOAT,
    }


def _read_pairs(load: Load, size: int, times: int) -> Phase:
    """The frozen VAE and encoder, on pairs whose captions fill the condition."""
    tokens = load.mean_tokens(load.works.model.condition_tokens)
    read = load.works.read_captions(size, tokens)
    if load.works.model.condition_source == "in_context":
        read = load.works.read_in_context(size, size, tokens) + load.works.look(size)
    cost = (load.works.encode_images(size) + read).times(times)
    return Phase("read pairs", cost, is_whole=True, num_gatherings=1)


def _write(
    load: Load, pictures: int, captions: int, longest: int, *, is_greedy: bool = False
) -> list[Phase]:
    """Look at pictures and write captions, all in one batch."""
    works = load.works
    looked = works.look(pictures)
    written = works.write(captions, longest)
    mean = works.write(captions, load.mean_tokens(longest))
    held = {"KV cache": written.cache_bytes}
    if is_greedy and works.encoder.adapters:  # the adapters' layers are written out once more
        held["folded weights"] = works.folded_bytes()
    return [
        Phase("look", looked, is_whole=True, num_gatherings=1),
        Phase(
            "write captions",
            _as_large_as(written.cost, mean.cost),
            held,
            mean.bytes_read,
            is_whole=True,
        ),
    ]


def _condition(load: Load, pictures: int, captions: int, longest: int, times: int) -> Phase:
    """Read written captions again for the decoder."""
    tokens = load.mean_tokens(longest)
    if load.works.model.condition_source == "in_context":
        cost = load.works.read_in_context(pictures, captions, tokens)
    else:
        cost = load.works.read_captions(captions, tokens)
    return Phase("read captions", cost.times(times), is_whole=True, num_gatherings=1)


def _train(
    cost: Cost,
    decoder_passes: int,
    encoder_passes: int = 0,
    held: Mapping[str, int] | None = None,
) -> Phase:
    return Phase(
        "train",
        cost,
        held or {},
        encoder_passes=encoder_passes,
        decoder_passes=decoder_passes,
    )


def _as_large_as(longest: Cost, mean: Cost, but: int = 0) -> Cost:
    """Return the work of captions of mean length, in the memory that the longest take."""
    return Cost(mean.flops, max(longest.peak_bytes - but, 0), mean.float32_flops)
