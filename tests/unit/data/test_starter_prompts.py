import random

import pytest

from uae.data.facts import ObjectFact, SceneFacts
from uae.data.geneval import TASKS, Exclude, Include, Prompt
from uae.data.starter.prompts import scene_prompts
from uae.data.starter.scenes import sample_facts
from uae.errors import EvaluationError


def test_prompts_of_a_scene_worked_by_hand():
    facts = SceneFacts(
        (
            ObjectFact("cat", "red", "large", "top left", (2, 2, 30, 30)),
            ObjectFact("dog", "blue", "small", "top right", (40, 8, 57, 24)),
        ),
        "white",
        None,
    )
    texts = {prompt.tag: prompt for prompt, _ in scene_prompts([facts, two_fish()], 6)}
    assert texts["two_object"].text == "a cat, a dog"
    assert texts["color_attr"].text == "a red cat, a blue dog"
    assert texts["counting"] == Prompt(
        "counting", "two fishes", (Include("fish", 2),), (Exclude("fish", 3),)
    )
    assert texts["position"].text == "a cat at the top left, a dog at the top right"
    assert texts["position"].include[1] == Include("dog", 1, None, "right of", 0)


def two_fish():
    places = (("top left", (5, 5, 22, 20)), ("top right", (40, 5, 57, 20)))
    fish = (ObjectFact("fish", "pink", "small", place, box) for place, box in places)
    return SceneFacts(tuple(fish), "tan", None)


def test_too_few_scenes_name_the_task():
    with pytest.raises(EvaluationError, match="give 0 prompts for two_object"):
        scene_prompts([two_fish()], 6)


def test_prompts_are_spread_over_the_tasks():
    rng = random.Random(1)
    pairs = scene_prompts([sample_facts(rng) for _ in range(60)], 8)
    assert [sum(prompt.tag == task for prompt, _ in pairs) for task in TASKS] == [2, 2, 1, 1, 1, 1]
