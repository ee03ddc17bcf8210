import numpy as np
import pytest

from uae.evaluation.geneval_plus.checklist import (
    INSTRUCTION,
    VERSION,
    checklist,
    instruction_identity,
    question,
    request,
)
from uae.evaluation.geneval_plus.prompts import Exclude, Include, Prompt

CHECKLISTS = {
    "color_attr": (
        (Include("bus", 1, color="brown"), Include("cup", 1, color="red")),
        (),
        "1. bus: exactly 1; colour: brown\n2. cup: exactly 1; colour: red",
    ),
    "spatial_count_attr": (
        (Include("tv", 2, region="above"), Include("cow", 3, region="below")),
        (),
        "1. tv: exactly 2; in the upper part of the picture\n"
        "2. cow: exactly 3; in the lower part of the picture",
    ),
    "color_spatial_attr": (
        (Include("cat", 1, "red", None, "left"), Include("dog", 1, "blue", None, "right")),
        (),
        "1. cat: exactly 1; colour: red; in the left part of the picture\n"
        "2. dog: exactly 1; colour: blue; in the right part of the picture",
    ),
    "color_count_attr": (
        (Include("boat", 3, color="white"),),
        (),
        "1. boat: exactly 3; colour: white",
    ),
    "multi_object_count_attr": (
        (Include("bowl", 3), Include("apple", 4)),
        (),
        "1. bowl: exactly 3\n2. apple: exactly 4",
    ),
    "size_spatial_attr": (
        (
            Include("boat", 1, size="larger", region="above"),
            Include("spoon", 1, size="smaller", region="below"),
        ),
        (),
        "1. boat: exactly 1; larger than the spoon; in the upper part of the picture\n"
        "2. spoon: exactly 1; smaller than the boat; in the lower part of the picture",
    ),
    "counting": (
        (Include("kite", 6),),
        (Exclude("kite", 7),),
        "1. kite: exactly 6\n2. kite: at most 6",
    ),
}


@pytest.mark.parametrize("tag", CHECKLISTS)
def test_every_tag_has_its_lines(tag):
    include, exclude, lines = CHECKLISTS[tag]
    assert checklist(Prompt(tag, "a text", include, exclude)) == lines


def test_two_objects_of_one_class_are_compared_with_each_other():
    include = (
        Include("cup", 1, None, "larger", "left"),
        Include("cup", 1, None, "smaller", "left"),
    )
    lines = checklist(Prompt("size_spatial_attr", "two cups", include)).splitlines()
    assert "larger than the cup" in lines[0]
    assert "smaller than the cup" in lines[1]


def test_a_judge_sees_the_picture_the_text_and_the_checklist():
    picture = np.zeros((4, 4, 3), np.uint8)
    asked = request(Prompt("counting", "six kites", (Include("kite", 6),)), picture)
    assert asked.pictures == (picture,)
    assert asked.text == "Text: six kites\n\nChecklist:\n1. kite: exactly 6"
    assert asked.system == INSTRUCTION


def test_other_words_are_another_version():
    # Where this fails, the words have changed: raise VERSION, then put the new hash here.
    assert instruction_identity() == {
        "instruction": "geneval_plus/1",
        "instruction_sha256": "d804cf4d9ba0e41104e374d9a9f660d5d9f3332049a4bf653c3973c6d838fa33",
    }
    assert VERSION == "1"


def test_the_question_holds_prompt_and_checklist():
    prompt = Prompt("counting", "six kites", (Include("kite", 6),))
    assert prompt.text in question(prompt)
    assert checklist(prompt) in question(prompt)
