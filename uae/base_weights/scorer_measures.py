"""What a scorer can tell apart, measured on held-out compositions.

Shape letters: B pictures, D feature width. `Features` takes (B, 3, 64, 64) pixels in [0, 1] and
returns (B, D), L2-normalised.
"""

import random
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from uae.base_weights.clip_batches import draw_crop
from uae.base_weights.pixels import to_pixels
from uae.base_weights.variants import KINDS, change_attributes, change_one, redraw
from uae.data.facts import SceneFacts
from uae.data.starter.captions import complete_caption
from uae.data.starter.scenes import draw_scene, sample_facts
from uae.data.starter.vocabulary import CLASSES, COLORS
from uae.evaluation.geneval.colors import OFFICIAL_TEMPLATES

Features = Callable[[Tensor], Tensor]
TextFeatures = Callable[[Sequence[str]], Tensor]
MAX_CHANGES = 6


def heldout_scenes(num_scenes: int, seed: int, *, min_objects: int = 1) -> list[SceneFacts]:
    """Return scenes whose compositions no training saw."""
    rng = random.Random(seed)
    scenes: list[SceneFacts] = []
    while len(scenes) < num_scenes:
        facts = sample_facts(rng, split="heldout")
        if len(facts.objects) >= min_objects:
            scenes.append(facts)
    return scenes


def draw(scenes: Sequence[SceneFacts]) -> Tensor:
    """Paint scenes as (B, 3, 64, 64) in [0, 1]."""
    return to_pixels(np.stack([np.asarray(draw_scene(facts)) for facts in scenes]))


@torch.no_grad()
def cosine_by_changes(
    features: Features, *, num_scenes: int = 200, seed: int = 0
) -> dict[str, float]:
    """Return the mean cosine between a scene and itself with 0 .. MAX_CHANGES attributes changed.

    0 changes is the same composition with its jitter drawn again. `cosine/ordered` is the share of
    pairs of those pictures (of one scene) where fewer changes give the higher cosine; 0.5 is
    chance. `cosine/unrelated` is the mean between different scenes.
    """
    rng = random.Random(seed)
    scenes = heldout_scenes(num_scenes, seed, min_objects=2)
    originals = features(draw(scenes))
    columns = []
    for changes in range(MAX_CHANGES + 1):
        varied = draw([change_attributes(facts, changes, rng) for facts in scenes])
        columns.append((features(varied) * originals).sum(-1))
    cosines = torch.stack(columns, 1)
    later, earlier = torch.triu_indices(len(columns), len(columns), 1).flip(0)
    figures = {f"cosine/changed_{k}": float(c.mean()) for k, c in enumerate(columns)}
    figures["cosine/ordered"] = float((cosines[:, earlier] > cosines[:, later]).float().mean())
    figures["cosine/unrelated"] = float((originals * originals.roll(1, 0)).sum(-1).mean())
    return figures


@torch.no_grad()
def cosine_by_kind(features: Features, *, num_scenes: int = 100, seed: int = 1) -> dict[str, float]:
    """Return, by kind of change, how often it lowers the cosine more than redrawing does."""
    rng = random.Random(seed)
    scenes = heldout_scenes(num_scenes, seed)
    originals = features(draw(scenes))
    same = (features(draw([redraw(facts, rng) for facts in scenes])) * originals).sum(-1)
    figures = {}
    for kind in KINDS:
        varied = draw([redraw(change_one(facts, kind, rng), rng) for facts in scenes])
        lower = (features(varied) * originals).sum(-1) < same
        figures[f"notices/{kind}"] = float(lower.float().mean())
    return figures


@torch.no_grad()
def retrieval(
    features: Features, text_features: TextFeatures, *, num_scenes: int = 200, seed: int = 2
) -> dict[str, float]:
    """Return how often the nearest caption is the right one.

    Among `num_scenes` scenes' complete captions, and among a scene's own and those of its one
    near miss of each kind.
    """
    rng = random.Random(seed)
    scenes = heldout_scenes(num_scenes, seed)
    images = features(draw(scenes))
    texts = text_features([complete_caption(facts) for facts in scenes])
    nearest = (images @ texts.T).argmax(1)
    figures = {"retrieval/top1": float((nearest == torch.arange(num_scenes)).float().mean())}
    own = (images * texts).sum(-1)
    hardest = torch.full_like(own, -1.0)
    for kind in KINDS:
        misses = [complete_caption(change_one(facts, kind, rng)) for facts in scenes]
        cosine = (images * text_features(misses)).sum(-1)
        figures[f"near_miss/{kind}"] = float((own > cosine).float().mean())
        hardest = torch.maximum(hardest, cosine)
    figures["near_miss/all"] = float((own > hardest).float().mean())
    return figures


@torch.no_grad()
def zero_shot_color(
    features: Features, text_features: TextFeatures, *, rounds: int = 2, seed: int = 3
) -> dict[str, float]:
    """Return the accuracy of GenEval's colour classifier on masked crops of every class."""
    rng = random.Random(seed)
    right = total = 0
    for name in CLASSES:
        prompts = [t.format(color=c, name=name) for c in COLORS for t in OFFICIAL_TEMPLATES]
        by_color = text_features(prompts).view(len(COLORS), len(OFFICIAL_TEMPLATES), -1).mean(1)
        by_color = torch.nn.functional.normalize(by_color, dim=-1)
        truth = torch.arange(len(COLORS)).repeat(rounds)
        names = list(COLORS)
        crops = [
            draw_crop(name, names[i], rng, splits=("heldout", "benchmark"), rough=False)
            for i in truth
        ]
        guess = (features(to_pixels(np.stack(crops))) @ by_color.T).argmax(1)
        right += int((guess == truth).sum())
        total += len(truth)
    return {"zero_shot/color": right / total}
