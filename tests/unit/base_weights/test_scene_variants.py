"""Scenes that differ in known attributes, and the batches made of them."""

import random

import pytest
import torch

from uae.base_weights.clip_batches import (
    ABSENT,
    BatchMix,
    draw_batch,
    draw_crop,
    near_misses,
    slot_labels,
)
from uae.base_weights.scenes_pool import scene_pool
from uae.base_weights.variants import KINDS, change_attributes, change_one, redraw
from uae.data.facts import SceneFacts
from uae.data.starter.scenes import composition_split, place_object, sample_facts
from uae.data.starter.vocabulary import CLASSES, PLACES, WORDS


def _scene(*things: tuple[str, str, str, str], word: str | None = None) -> SceneFacts:
    rng = random.Random(0)
    return SceneFacts(tuple(place_object(rng, *thing) for thing in things), "white", word)


CAT = ("cat", "red", "small", "top left")
DOG = ("dog", "blue", "large", "bottom right")


def _composition(facts: SceneFacts) -> list[tuple[str, str, str, str]]:
    return [(o.name, o.color, o.size, o.place) for o in facts.objects]


@pytest.mark.parametrize("kind", ["name", "color", "size", "place"])
def test_change_one_changes_one_attribute_of_one_object(kind: str):
    scene = _scene(CAT, DOG)
    for seed in range(10):
        changed = change_one(scene, kind, random.Random(seed))
        before, after = set(_composition(scene)), set(_composition(changed))
        assert len(before & after) == 1
        (old,), (new,) = before - after, after - before
        index = ("name", "color", "size", "place").index(kind)
        assert [a != b for a, b in zip(old, new, strict=True)] == [i == index for i in range(4)]


def test_swap_exchanges_colours():
    swapped = change_one(_scene(CAT, DOG), "swap", random.Random(0))
    assert [(o.name, o.color) for o in swapped.objects] == [("cat", "blue"), ("dog", "red")]


def test_count_adds_or_removes_one_object():
    counts = {
        len(change_one(_scene(CAT, DOG), "count", random.Random(s)).objects) for s in range(20)
    }
    assert counts == {1, 3}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_changes_every_scene(kind: str):
    rng = random.Random(1)
    for _ in range(100):
        scene = sample_facts(rng)
        changed = change_one(scene, kind, rng)
        assert _composition(changed) != _composition(scene) or (
            (changed.background, changed.word) != (scene.background, scene.word)
        )
        places = [o.place for o in changed.objects]
        assert len(set(places)) == len(places) >= 1
        assert changed.word is None or {"bottom left", "bottom right"}.isdisjoint(places)


@pytest.mark.parametrize("num_changes", [0, 1, 4, 7])
def test_change_attributes_changes_that_many(num_changes: int):
    scene = _scene(CAT, DOG)
    changed = change_attributes(scene, num_changes, random.Random(3))
    pairs = zip(_composition(scene), _composition(changed), strict=True)
    different = sum(a != b for old, new in pairs for a, b in zip(old, new, strict=True))
    assert different + (changed.background != scene.background) == num_changes


def test_redraw_keeps_the_composition():
    scene = _scene(CAT, DOG, word=None)
    again = redraw(scene, random.Random(9))
    assert _composition(again) == _composition(scene)
    assert again.objects[0].box != scene.objects[0].box


def test_near_misses_are_no_held_out_scene():
    rng = random.Random(2)
    for _ in range(50):
        base = sample_facts(rng, split="train")
        assert {composition_split(scene) for scene in near_misses(base, 3, rng)} == {"train"}


def test_slot_labels_by_hand():
    labels = slot_labels(_scene(CAT, word="SUN"))
    assert labels[:3] == [CLASSES.index("cat"), 0, 0]  # top left comes first; red, small
    assert labels[3:6] == [len(CLASSES), ABSENT, ABSENT]  # nothing at the top right
    assert labels[-2:] == [0, WORDS.index("SUN")]
    assert len(labels) == 3 * len(PLACES) + 2


def test_batch_depends_on_its_step_alone():
    mix = BatchMix(num_groups=2, group_size=3, num_unrelated=4, num_crops=6, terse_share=0.5)
    images, facts = scene_pool(20, 0)
    first, again, other = (draw_batch(mix, images, facts, 0, step) for step in (5, 5, 6))
    assert first.images_BCHW.shape == (16, 3, 64, 64)
    assert torch.equal(first.images_BCHW, again.images_BCHW)
    assert first.texts == again.texts != other.texts
    assert len(first.texts) == 16
    assert first.truth_KK.shape == (6, 6)
    assert first.truth_KK.diagonal().all()


def test_crop_is_gray_outside_the_object():
    crop = draw_crop("key", "red", random.Random(0), rough=False)
    gray = (abs(crop.astype(int) - 0x99) < 3).all(-1).mean()
    assert crop.shape == (64, 64, 3)
    assert 0.2 < gray < 0.9
