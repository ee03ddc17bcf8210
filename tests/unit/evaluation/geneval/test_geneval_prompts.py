import json
import random

import pytest

from uae.data.geneval import TASKS, Include
from uae.data.starter.prompts import scene_prompts
from uae.data.starter.scenes import sample_facts
from uae.errors import EvaluationError
from uae.evaluation.geneval.known_answers import true_verdict
from uae.evaluation.geneval.prompts import load_prompts, parse_prompts
from uae.evaluation.geneval.vocabulary import VOCABULARIES
from uae.evaluation.prompt_files import PromptText
from uae.recipe import GenevalRecipe

OFFICIAL = VOCABULARIES["official"]

OFFICIAL_ROWS = [
    {"tag": "single_object", "include": [{"class": "bench", "count": 1}], "prompt": "a bench"},
    {
        "tag": "counting",
        "include": [{"class": "clock", "count": 3}],
        "exclude": [{"class": "clock", "count": 4}],
        "prompt": "a photo of three clocks",
    },
    {
        "tag": "position",
        "include": [
            {"class": "cow", "count": 1},
            {"class": "dog", "count": 1, "position": ["right of", 0]},
        ],
        "prompt": "a photo of a dog right of a cow",
    },
]


def file_of(rows, newline="\n", source="p.jsonl"):
    return PromptText(newline.join(json.dumps(row) for row in rows), source, "0" * 64)


def settings_with(**changes):
    fields = {
        "prompts": "scenes",
        "rewritten": None,
        "num_prompts": None,
        "images_per_prompt": 1,
        "detector": "detector",
        "colors": "clip",
        "vocabulary": "official",
    }
    return GenevalRecipe.model_validate(fields | changes)


def written(path, text):
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return {"source": str(path), "sha256": None}


def rows_text(rows=OFFICIAL_ROWS):
    return "\n".join(json.dumps(row) for row in rows)


def test_official_rows_are_read_and_written_unchanged():
    prompts = parse_prompts(file_of(OFFICIAL_ROWS), OFFICIAL)
    assert [prompt.to_json() for prompt in prompts] == OFFICIAL_ROWS
    assert prompts[2].include[1] == Include("dog", 1, None, "right of", 0)


def test_windows_line_ends_and_a_byte_order_mark_are_accepted(context, tmp_path):
    text = b"\xef\xbb\xbf" + rows_text().replace("\n", "\r\n").encode() + b"\r\n"
    plain = written(tmp_path / "plain.jsonl", rows_text())
    windows = written(tmp_path / "windows.jsonl", text)
    read = [load_prompts(settings_with(prompts=file), context()) for file in (plain, windows)]
    assert read[0].prompts == read[1].prompts
    assert read[0].described.sha256 == read[1].described.sha256
    assert read[0].described.name == "geneval"
    assert read[0].described.source == "plain.jsonl"
    assert read[0].texts == tuple(row["prompt"] for row in OFFICIAL_ROWS)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"tag": "colours"}, "unknown tag 'colours'"),
        ({"include": [{"class": "unicorn", "count": 1}]}, "unknown class 'unicorn'"),
        ({"exclude": [{"class": "unicorn", "count": 1}]}, "unknown class 'unicorn'"),
        ({"include": [{"class": "bench", "count": 0}]}, "count must be a positive"),
        ({"include": [{"class": "bench", "count": True}]}, "count must be a positive"),
        ({"include": [{"class": "bench", "count": 1, "color": "mauve"}]}, "unknown color 'mauve'"),
        (
            {"include": [{"class": "bench", "count": 1, "colour": "red"}]},
            r"unknown keys \['colour'",
        ),
        ({"include": [{"class": "bench"}]}, "KeyError"),
        (
            {"include": [{"class": "bench", "count": 1, "position": ["behind", 0]}]},
            "unknown relation 'behind'",
        ),
        (
            {"include": [{"class": "bench", "count": 1, "position": ["above", 0]}]},
            "unknown position target 0",
        ),
        ({"include": [{"class": "bench", "count": 1, "position": ["above"]}]}, "ValueError"),
        ({"include": [{"class": "bench", "count": 1, "position": None}]}, "TypeError"),
        ({"include": [{"class": "bench", "count": 1, "color": None}]}, "unknown color None"),
        ({"include": []}, "include is empty"),
        ({"excluded": []}, r"unknown keys \['excluded'\]"),
        ({"include": None}, "TypeError"),
        ({"prompt": ""}, "prompt must be a text"),
        ({"prompt": None}, "prompt must be a text"),
    ],
)
def test_a_bad_row_is_named_by_line(change, named):
    rows = [OFFICIAL_ROWS[1], OFFICIAL_ROWS[0] | change]
    with pytest.raises(EvaluationError, match=rf"p\.jsonl:2: not a GenEval prompt: .*{named}"):
        parse_prompts(file_of(rows), OFFICIAL)


@pytest.mark.parametrize(
    ("position", "named"),
    [
        ([None, 0], "unknown relation None"),
        (["left of", 0.0], "unknown position target 0.0"),
        (["left of", False], "unknown position target False"),
        (["left of", None], "unknown position target None"),
        (["left of", -1], "unknown position target -1; known: the 1 entries before it"),
        (["left of", 1], "unknown position target 1"),
    ],
)
def test_a_position_is_a_relation_and_an_earlier_entry(position, named):
    cow, dog = OFFICIAL_ROWS[2]["include"]
    row = OFFICIAL_ROWS[2] | {"include": [cow, dog | {"position": position}]}
    with pytest.raises(EvaluationError, match=rf"p\.jsonl:1: .*{named}"):
        parse_prompts(file_of([row]), OFFICIAL)


CAT, RED_CAT = {"class": "cat", "count": 1}, {"class": "cat", "count": 1, "color": "red"}
DOG, RED_DOG = {"class": "dog", "count": 1}, {"class": "dog", "count": 1, "color": "red"}
LEFT_DOG = DOG | {"position": ["left of", 0]}


@pytest.mark.parametrize(
    ("tag", "right", "wrong", "named"),
    [
        ("two_object", [CAT, DOG], [CAT], "two_object includes 2 objects, got 1"),
        ("colors", [RED_CAT], [CAT], "colors names the color of each object"),
        ("color_attr", [RED_CAT, RED_DOG], [RED_CAT], "color_attr includes 2 objects, got 1"),
        ("color_attr", [RED_CAT, RED_DOG], [RED_CAT, DOG], "color_attr names the color of each"),
        ("position", [CAT, LEFT_DOG], [CAT, DOG], "position names the position of its last"),
        ("position", [CAT, LEFT_DOG], [CAT], "position includes 2 objects, got 1"),
    ],
)
def test_a_row_asks_for_what_its_tag_says(tag, right, wrong, named):
    row = {"tag": tag, "prompt": "a text"}
    assert len(parse_prompts(file_of([row | {"include": right}]), OFFICIAL)) == 1
    with pytest.raises(EvaluationError, match=named):
        parse_prompts(file_of([row | {"include": wrong}]), OFFICIAL)


@pytest.mark.parametrize(
    ("exclude", "named"),
    [
        ([], "counting excludes more of 'clock'"),
        ([{"class": "cat", "count": 4}], "counting excludes more of 'clock'"),
        ([{"class": "clock", "count": 3}], "3 of 'clock' are included, 3 excluded: no picture"),
        ([{"class": "clock", "count": count} for count in (2, 4)], "3 of .* included, 2 excluded"),
    ],
)
def test_counting_has_a_limit_above_its_number(exclude, named):
    with pytest.raises(EvaluationError, match=named):
        parse_prompts(file_of([OFFICIAL_ROWS[1] | {"exclude": exclude}]), OFFICIAL)


def test_a_key_that_stands_twice_is_refused():
    line = json.dumps(OFFICIAL_ROWS[0]).replace('"count": 1', '"count": 2, "count": 1')
    with pytest.raises(EvaluationError, match=r"p:1: .*keys stand twice: count"):
        parse_prompts(PromptText(line, "p", ""), OFFICIAL)


def test_repeated_and_broken_rows_are_named_by_line():
    with pytest.raises(EvaluationError, match=r"p\.jsonl:3: repeats line 1"):
        parse_prompts(file_of([*OFFICIAL_ROWS[:2], OFFICIAL_ROWS[0]]), OFFICIAL)
    with pytest.raises(EvaluationError, match=":2: not a GenEval prompt"):
        parse_prompts(PromptText("\n{not json", "p", ""), OFFICIAL)
    with pytest.raises(EvaluationError, match=":1: not a GenEval prompt"):
        parse_prompts(PromptText("[]", "p", ""), OFFICIAL)


def test_the_starters_words_are_another_vocabulary():
    with pytest.raises(EvaluationError, match="unknown class 'bench'"):
        parse_prompts(file_of(OFFICIAL_ROWS), VOCABULARIES["starter"])


def test_the_first_prompts_are_another_set(context, tmp_path):
    file = written(tmp_path / "p.jsonl", rows_text())
    whole = load_prompts(settings_with(prompts=file), context())
    part = load_prompts(settings_with(prompts=file, num_prompts=2), context())
    assert part.prompts == whole.prompts[:2]
    assert (part.described.count, whole.described.count) == (2, 3)
    assert part.described.sha256 != whole.described.sha256
    with pytest.raises(EvaluationError, match=r"num_prompts is 4, .* holds 3"):
        load_prompts(settings_with(prompts=file, num_prompts=4), context())


LONG = ["a wooden bench in a park", "three round clocks", "a dog stands right of a cow"]


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(LONG),
        "\r\n".join(LONG) + "\r\n",
        "\n".join(json.dumps({"prompt": text}) for text in LONG),
        rows_text([row | {"prompt": text} for row, text in zip(OFFICIAL_ROWS, LONG, strict=True)]),
    ],
)
def test_rewritten_texts_are_painted_and_the_rules_remain(context, tmp_path, text):
    file = written(tmp_path / "p.jsonl", rows_text())
    plain = load_prompts(settings_with(prompts=file), context())
    rewritten = written(tmp_path / "long.jsonl", text)
    asked = load_prompts(settings_with(prompts=file, rewritten=rewritten), context())
    assert list(asked.texts) == LONG
    assert asked.prompts == plain.prompts
    assert asked.described.name == "geneval-rewritten"
    assert asked.described.sha256 != plain.described.sha256
    first = settings_with(prompts=file, rewritten=rewritten, num_prompts=1)
    assert load_prompts(first, context()).texts == (LONG[0],)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("\n".join(LONG[:2]), "holds 2 lines for 3 prompts"),
        ("\n".join([*LONG, "one more"]), "holds 4 lines for 3 prompts"),
        ("a\n\nb", ":2: no text for 'a photo of three clocks'"),
        ('{"prompt": "a"}\n{"text": "b"}\n{"prompt": "c"}', ":2: no text"),
        ('{"prompt": "a"}\n{"prompt": 2}\n{"prompt": "c"}', ":2: no text"),
        ('{"prompt": "a"}\nb\n{"prompt": "c"}', ":2: no text"),
        ('{"prompt": "a"}\n{"prompt": "b", "prompt": "d"}\n{"prompt": "c"}', "keys stand twice"),
        (
            rows_text(OFFICIAL_ROWS[::-1]),
            ":1: .*tag is another prompt.*'position'",
        ),
    ],
)
def test_rewritten_texts_that_do_not_fit_are_refused(context, tmp_path, text, named):
    file = written(tmp_path / "p.jsonl", rows_text())
    rewritten = written(tmp_path / "long", text)
    with pytest.raises(EvaluationError, match=named):
        load_prompts(settings_with(prompts=file, rewritten=rewritten), context())


@pytest.mark.parametrize(
    "changes", [{"vocabulary": "official"}, {"rewritten": {"source": "x", "sha256": None}}]
)
def test_scenes_are_in_the_starters_words_and_not_rewritten(context, changes):
    settings = settings_with(**{"num_prompts": 6, "vocabulary": "starter"} | changes)
    with pytest.raises(EvaluationError, match="scenes"):
        load_prompts(settings, context())


def test_prompts_from_scenes_keep_their_scenes(context, scenes):
    asked = load_prompts(settings_with(num_prompts=6, vocabulary="starter"), context())
    assert (asked.described.name, asked.described.source) == ("scenes", "data")
    assert len(asked.scenes) == len(asked.prompts) == asked.described.count == 6
    assert all(map(true_verdict, asked.prompts, asked.scenes))


def test_every_prompt_is_new_true_of_its_scene_and_in_the_official_format():
    rng = random.Random(0)
    pairs = scene_prompts([sample_facts(rng) for _ in range(150)], 48)
    prompts = [prompt for prompt, _ in pairs]
    assert len(set(prompts)) == 48
    assert [sum(prompt.tag == task for prompt in prompts) for task in TASKS] == [8] * 6
    assert all(true_verdict(prompt, facts) for prompt, facts in pairs)
    relations = {prompt.include[1].relation for prompt in prompts if prompt.tag == "position"}
    assert len(relations) > 1
    file = file_of([prompt.to_json() for prompt in prompts])
    assert parse_prompts(file, VOCABULARIES["starter"]) == prompts
