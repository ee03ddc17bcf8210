"""Batches for the small CLIPs: scenes with near misses, and crops of single objects.

A batch holds S scenes first, then K crops. Scenes come in groups whose members differ in one
attribute, beside unrelated ones, so that telling them apart needs colour, class, size, place,
count and binding. Crops are what GenEval shows a CLIP: an object's box, enlarged, what is
outside its mask painted #999.
"""

import random
import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps
from torch import Tensor
from torch.nn import functional

from uae.base_weights.pixels import to_pixels
from uae.base_weights.variants import KINDS, change_one
from uae.data.facts import SceneFacts
from uae.data.starter.captions import complete_caption, terse_caption
from uae.data.starter.scenes import (
    Split,
    composition_split,
    draw_scene,
    draw_scene_with_masks,
    place_object,
)
from uae.data.starter.vocabulary import (
    BACKGROUNDS,
    CLASSES,
    COLORS,
    IMAGE_SIZE,
    PLACES,
    SIZES,
    WORDS,
)
from uae.evaluation.geneval.colors import OFFICIAL_TEMPLATES, masked_crop
from uae.evaluation.geneval.rules import Detection
from uae.seeds import derive_seed, make_generator

CROP_TEMPLATES = (*OFFICIAL_TEMPLATES, "a {color} {name}", "a photo of a {name}")
ABSENT = -100  # the label that cross entropy leaves out


class Crop(NamedTuple):
    """An enlarged object."""

    name: str
    color: str


@dataclass(frozen=True)
class BatchMix:
    """What a batch is made of."""

    num_groups: int  # of near misses
    group_size: int
    num_unrelated: int
    num_crops: int
    terse_share: float  # of the unrelated scenes' captions


class ClipBatch(NamedTuple):
    """Pictures and texts; `truth` marks which crop texts are true of which crops."""

    images_BCHW: Tensor  # [0, 1]
    texts: list[str]  # B
    slots_SA: Tensor  # scene attributes as classes, see `slot_labels`
    crop_labels_K2: Tensor  # class, colour
    truth_KK: Tensor  # bool, [crop, text]


SLOT_SIZES = (len(CLASSES) + 1, len(COLORS), len(SIZES)) * len(PLACES) + (
    len(BACKGROUNDS),
    len(WORDS) + 1,
)


def slot_labels(facts: SceneFacts) -> list[int]:
    """Return the scene's truth as class labels: per place class, colour, size; background; word.

    The last class of "class" and "word" is none; colour and size of nothing are left out.
    """
    at = {thing.place: thing for thing in facts.objects}
    labels: list[int] = []
    for place in PLACES:
        thing = at.get(place)
        if thing is None:
            labels += [len(CLASSES), ABSENT, ABSENT]
        else:
            labels += [
                CLASSES.index(thing.name),
                list(COLORS).index(thing.color),
                list(SIZES).index(thing.size),
            ]
    labels.append(list(BACKGROUNDS).index(facts.background))
    labels.append(WORDS.index(facts.word) if facts.word is not None else len(WORDS))
    return labels


def draw_batch(
    mix: BatchMix, images: NDArray[np.uint8], facts: list[SceneFacts], seed: int, step: int
) -> ClipBatch:
    """Draw the step's batch; unrelated scenes come from the pool, the others are painted."""
    rng = random.Random(derive_seed(seed, "clip-batch", step))
    scenes: list[SceneFacts] = []
    for _ in range(mix.num_groups):
        base = facts[rng.randrange(len(facts))]
        scenes += [base, *near_misses(base, mix.group_size - 1, rng)]
    texts = [complete_caption(scene, rng) for scene in scenes]
    pixels = [np.asarray(draw_scene(scene)) for scene in scenes]
    for index in rng.sample(range(len(facts)), mix.num_unrelated):
        terse = rng.random() < mix.terse_share
        texts.append((terse_caption if terse else complete_caption)(facts[index], rng))
        scenes.append(facts[index])
        pixels.append(images[index])
    crops, crop_pixels, crop_texts = _draw_crops(mix.num_crops, rng)
    generator = make_generator(seed, "clip-augment", step)
    return ClipBatch(
        augment(to_pixels(np.stack(pixels + crop_pixels)), generator),
        texts + [text for text, _ in crop_texts],
        torch.tensor([slot_labels(scene) for scene in scenes]),
        torch.tensor([[CLASSES.index(c.name), list(COLORS).index(c.color)] for c in crops]),
        torch.tensor([[_is_true(crop, text) for text in crop_texts] for crop in crops]),
    )


def draw_crop(
    name: str,
    color: str,
    rng: random.Random,
    *,
    splits: tuple[Split, ...] = ("train",),
    rough: bool = True,
) -> NDArray[np.uint8]:
    """Paint one object in a scene and return its enlarged crop, (64, 64, 3).

    As open_clip prepares a picture: the shorter side to 64, the middle cut out. With `rough` the
    mask is now and then a pixel too wide or too narrow, and the surroundings are sometimes left
    in, as with a detector that is not perfect.
    """
    facts = _alone(name, color, rng)
    while composition_split(facts) not in splits:
        facts = _alone(name, color, rng)
    scene, masks = draw_scene_with_masks(facts)
    mask = Image.fromarray(masks[0].astype(np.uint8) * 255)
    if rough and rng.random() < 0.5:
        edge = rng.choice([ImageFilter.MaxFilter(3), ImageFilter.MinFilter(3)])
        mask = mask.filter(edge)
    box = mask.getbbox() or (0, 0, IMAGE_SIZE, IMAGE_SIZE)
    inside = np.asarray(mask) > 0 if not rough or rng.random() < 0.8 else None
    crop = masked_crop(np.asarray(scene), Detection(name, 1.0, box, inside))
    return np.asarray(ImageOps.fit(crop, (IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC))


def augment(images_BCHW: Tensor, generator: torch.Generator) -> Tensor:
    """Blur, noise and exposure like those of a generated picture; place and hue stay."""
    num = images_BCHW.shape[0]
    blur, noise, gain = torch.rand(3, num, 1, 1, 1, generator=generator)
    blur = (1.6 * blur - 0.8).clamp(min=0)  # half of the pictures stay sharp
    soft = functional.avg_pool2d(functional.pad(images_BCHW, (1,) * 4, "replicate"), 3, 1)
    images_BCHW = images_BCHW + blur * (soft - images_BCHW)
    images_BCHW = images_BCHW * (1 + 0.1 * (gain - 0.5))
    grain = torch.randn(images_BCHW.shape, generator=generator)
    grainy: Tensor = images_BCHW + 0.05 * noise**2 * grain
    return grainy.clamp(0, 1)


def _alone(name: str, color: str, rng: random.Random) -> SceneFacts:
    thing = place_object(rng, name, color, rng.choice(list(SIZES)), rng.choice(list(PLACES)))
    return SceneFacts((thing,), rng.choice(list(BACKGROUNDS)), None)


def near_misses(base: SceneFacts, num_misses: int, rng: random.Random) -> list[SceneFacts]:
    """Return scenes one change away from the base and from nothing held out."""
    found: list[SceneFacts] = []
    for kind in rng.sample(KINDS, num_misses):
        scene = change_one(base, kind, rng)
        while composition_split(scene) != "train":
            scene = change_one(base, rng.choice(KINDS), rng)
        found.append(scene)
    return found


def _draw_crops(
    num_crops: int, rng: random.Random
) -> tuple[list[Crop], list[NDArray[np.uint8]], list[tuple[str, Crop]]]:
    crops: list[Crop] = []
    texts: list[tuple[str, Crop]] = []
    while len(crops) < num_crops:  # pairs of one class in two colours, and of two classes
        name, color = rng.choice(CLASSES), rng.choice(list(COLORS))
        crops.append(Crop(name, color))
        crops.append(Crop(name, rng.choice(list(COLORS))))
    crops = crops[:num_crops]
    for crop in crops:
        template = rng.choice(CROP_TEMPLATES)
        told = Crop(
            crop.name if "{name}" in template else "", crop.color if "{color}" in template else ""
        )
        text = template.format(name=crop.name, color=crop.color)
        texts.append((re.sub(r"\ba (?=[aeiou])", "an ", text), told))
    return crops, [draw_crop(crop.name, crop.color, rng) for crop in crops], texts


def _is_true(crop: Crop, text: tuple[str, Crop]) -> bool:
    told = text[1]
    return told.name in ("", crop.name) and told.color in ("", crop.color)
