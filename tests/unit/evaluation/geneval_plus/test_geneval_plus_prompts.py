import json

import pytest

from uae.errors import EvaluationError
from uae.evaluation.geneval_plus.prompts import Exclude, Include, Prompt, read_prompts

CLOCKS = {
    "tag": "counting",
    "include": [{"class": "kite", "count": 6}],
    "exclude": [{"class": "kite", "count": 7}],
    "prompt": "A photo of six kites",
}
ROWS = [
    {
        "tag": "color_attr",
        "include": [{"class": "bus", "count": 1, "color": "brown"}],
        "prompt": "A photo of a brown bus",
    },
    {
        "tag": "spatial_count_attr",
        "include": [
            {"class": "tv", "count": 2, "region": "above"},
            {"class": "cow", "count": 3, "region": "below"},
        ],
        "prompt": "A photo of two tvs on the above and three cows on the below",
    },
    {
        "tag": "color_spatial_attr",
        "include": [{"class": "cat", "count": 1, "color": "red", "region": "left"}],
        "prompt": "A photo of red cat on the left",
    },
    {
        "tag": "color_count_attr",
        "include": [{"class": "boat", "count": 3, "color": "white"}],
        "prompt": "A photo of three white boats",
    },
    {
        "tag": "multi_object_count_attr",
        "include": [{"class": "bowl", "count": 3}, {"class": "apple", "count": 4}],
        "prompt": "A photo of three bowls and four apples",
    },
    {
        "tag": "size_spatial_attr",
        "include": [
            {"class": "boat", "count": 1, "size": "larger", "region": "above"},
            {"class": "spoon", "count": 1, "size": "smaller", "region": "below"},
        ],
        "prompt": "A photo of a larger boat on the above and a smaller spoon on the below",
    },
    CLOCKS,
]


def lines(*rows):
    return "\n".join(json.dumps(row) for row in rows)


def test_every_tag_is_read_and_written_back_as_it_was():
    prompts = read_prompts(lines(*ROWS) + "\n", "file")
    assert [prompt.to_json() for prompt in prompts] == ROWS


def test_objects_have_what_their_tag_asks_for():
    size, counting = read_prompts(lines(*ROWS[-2:]), "file")
    assert size.include[1] == Include("spoon", 1, None, "smaller", "below")
    kites = (Include("kite", 6),), (Exclude("kite", 7),)
    assert counting == Prompt("counting", "A photo of six kites", *kites)


def test_blank_lines_and_spaces_around_a_prompt_do_not_count():
    padded = CLOCKS | {"prompt": " A photo of six kites "}
    assert read_prompts(f"\n{lines(padded)}\n\n", "file") == read_prompts(lines(CLOCKS), "file")


def changed(row, **changes):
    entries = [row["include"][0] | changes, *row["include"][1:]]
    return row | {"include": entries}


def without(row, key):
    return {name: value for name, value in row.items() if name != key}


WRONG = {
    "a tag": (CLOCKS | {"tag": "colors"}, "unknown tag 'colors'; known: color_attr"),
    "a tag of another type": (CLOCKS | {"tag": 3}, "unknown tag 3"),
    "a key": (CLOCKS | {"seed": 3}, "unknown \\['seed'\\]"),
    "no prompt": (without(CLOCKS, "prompt"), "lacks \\['prompt'\\]"),
    "no include": (without(CLOCKS, "include"), "lacks \\['include'\\]"),
    "an empty prompt": (CLOCKS | {"prompt": " "}, "prompt must be a text, got ' '"),
    "an empty include": (CLOCKS | {"include": []}, "include is empty"),
    "include no list": (CLOCKS | {"include": {}}, "include must be a list"),
    "an object no object": (CLOCKS | {"include": ["kite"]}, "must be an object, got 'kite'"),
    "a row no object": (["kite"], "got list"),
    "a class": (changed(CLOCKS, **{"class": 4}), "class must be a text, got 4"),
    "a count of zero": (changed(CLOCKS, count=0), "count must be a positive integer, got 0"),
    "a count in words": (changed(CLOCKS, count="six"), "positive integer, got 'six'"),
    "a count that is true": (changed(CLOCKS, count=True), "positive integer, got True"),
    "an attribute of another tag": (changed(CLOCKS, color="red"), "unknown \\['color'\\]"),
    "no colour": (changed(ROWS[0], color=None), "color must be a text, got None"),
    "a region": (changed(ROWS[1], region="center"), "unknown region 'center'; known: left"),
    "a size": (changed(ROWS[5], size="huge"), "unknown size 'huge'; known: larger, smaller"),
    "two larger ones": (changed(ROWS[5], size="smaller"), "one larger and one smaller"),
    "one size alone": (
        ROWS[5] | {"include": ROWS[5]["include"][:1]},
        "one larger and one smaller",
    ),
    "an exclude": (CLOCKS | {"exclude": [{"class": "kite"}]}, "lacks \\['count'\\]"),
    "exclude no list": (CLOCKS | {"exclude": None}, "exclude must be a list"),
}


@pytest.mark.parametrize(("row", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_row_is_named_by_its_line(row, message):
    with pytest.raises(EvaluationError, match=f"file:2: not a GenEval.*{message}"):
        read_prompts(f"{lines(ROWS[0])}\n{lines(row)}", "file")


def test_a_line_that_is_no_json_is_named():
    with pytest.raises(EvaluationError, match="file:1: not a GenEval"):
        read_prompts('{"tag": ', "file")


def test_a_key_that_stands_twice_is_refused():
    line = json.dumps(CLOCKS).replace('"count": 6', '"count": 5, "count": 6')
    with pytest.raises(EvaluationError, match=r"file:1: .*keys stand twice: count"):
        read_prompts(line, "file")


def test_a_repeated_row_is_named_with_the_earlier_one():
    with pytest.raises(EvaluationError, match="file:3: repeats line 1"):
        read_prompts(lines(CLOCKS, ROWS[0], CLOCKS), "file")


def test_a_file_without_prompts_is_refused():
    with pytest.raises(EvaluationError, match="file holds no prompt"):
        read_prompts("\n \n", "file")
