"""What frozen models do with samples: once for all of them, or in every update for its own.

Samples go through a frozen model in chunks, and where their number is no multiple of a chunk's the
last one is counted as a whole one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from uae.planning.phase import FLOAT, Load, Phase
from uae.planning.trace import Cost
from uae.stages.setting import CHUNK


def in_chunks(count: int, num_processes: int = 1) -> tuple[int, int]:
    """Return the size of a chunk, and how many of them are one process's."""
    return min(CHUNK, count), math.ceil(math.ceil(count / CHUNK) / num_processes)


def features(load: Load, chunks: tuple[int, int], held: Mapping[str, int] | None = None) -> Phase:
    """The scorer's, of pictures that are given."""
    size, times = chunks
    cost = load.works.score(size).times(times)
    return Phase("features", cost, held or {}, is_whole=True, num_gatherings=1)


def read_pairs(load: Load, chunks: tuple[int, int], held: Mapping[str, int] | None = None) -> Phase:
    """The frozen VAE and encoder, on pairs whose captions fill the condition."""
    size, times = chunks
    tokens = load.mean_tokens(load.works.model.condition_tokens)
    read = load.works.read_captions(size, tokens)
    if load.works.model.condition_source == "in_context":
        read = load.works.read_in_context(size, size, tokens) + load.works.look(size)
    cost = (load.works.encode_images(size) + read).times(times)
    return Phase("read pairs", cost, held or {}, is_whole=True, num_gatherings=1)


def pair_bytes(load: Load) -> int:
    """Return the bytes of a pair that was read: latents, hidden states and their mask."""
    model = load.works.model
    channels, height, width = load.works.models.latents
    hidden = model.condition_tokens * model.encoder.width * FLOAT
    return channels * height * width * FLOAT + hidden + model.condition_tokens


def write(
    load: Load,
    pictures: int,
    captions: int,
    longest: int,
    *,
    times: int = 1,
    is_greedy: bool = False,
) -> list[Phase]:
    """Look at pictures and write captions, so many at once in one batch."""
    works = load.works
    looked = works.look(pictures)
    written = works.write(captions, longest)
    mean = works.write(captions, load.mean_tokens(longest))
    held = {"KV cache": written.cache_bytes}
    if is_greedy and works.encoder.adapters:  # the adapters' layers are written out once more
        held["folded weights"] = works.folded_bytes()
    return [
        Phase("look", looked.times(times), is_whole=True, num_gatherings=1),
        Phase(
            "write captions",
            as_large_as(written.cost, mean.cost).times(times),
            held,
            mean.bytes_read * times,
            is_whole=True,
        ),
    ]


def condition(
    load: Load, pictures: int, captions: int, longest: int, *, times: int, num_gatherings: int = 1
) -> Phase:
    """Read written captions again for the decoder."""
    tokens = load.mean_tokens(longest)
    if load.works.model.condition_source == "in_context":
        cost = load.works.read_in_context(pictures, captions, tokens)
    else:
        cost = load.works.read_captions(captions, tokens)
    return Phase("read captions", cost.times(times), is_whole=True, num_gatherings=num_gatherings)


def as_large_as(longest: Cost, mean: Cost, but: int = 0) -> Cost:
    """Return the work of captions of mean length, in the memory that the longest take."""
    return Cost(mean.flops, max(longest.peak_bytes - but, 0), mean.float32_flops)
