"""GenEval's folder layout, and pictures that other tools made."""

import json
import shutil

import pytest

from uae.data.geneval import Include, Prompt
from uae.errors import EvaluationError
from uae.evaluation.geneval.images import (
    check_metadata,
    given_pictures,
    metadata_path,
    picture_place,
    picture_seed,
    sample_path,
    write_metadata,
)

PROMPTS = [
    Prompt("single_object", "a cat", (Include("cat", 1),)),
    Prompt("position", "a", (Include("cat", 1), Include("dog", 1, None, "left of", 0))),
    Prompt("colors", "a red dog", (Include("dog", 1, "red"),)),
]
TEXTS = [prompt.text for prompt in PROMPTS]


@pytest.fixture
def folder(tmp_path):
    for number, prompt in enumerate(PROMPTS):
        write_metadata(tmp_path, number, prompt)
    return tmp_path


def test_places_are_those_of_the_official_layout(tmp_path):
    assert picture_place(3, 1) == "geneval/00003/samples/0001.png"
    assert sample_path(tmp_path, 12, 0) == tmp_path / "00012/samples/0000.png"
    assert metadata_path(tmp_path, 12) == tmp_path / "00012/metadata.jsonl"


def test_each_picture_has_a_seed_of_its_own():
    seeds = {picture_seed(s, n, i) for s in range(2) for n in range(3) for i in range(4)}
    assert len(seeds) == 24


def test_rows_are_written_in_the_official_form_and_nothing_else(folder):
    assert json.loads(metadata_path(folder, 1).read_text()) == {
        "tag": "position",
        "include": [
            {"class": "cat", "count": 1},
            {"class": "dog", "count": 1, "position": ["left of", 0]},
        ],
        "prompt": "a",
    }
    assert [path.name for path in (folder / "00001").iterdir()] == ["metadata.jsonl"]
    check_metadata(folder, PROMPTS, TEXTS)


def test_other_tools_may_note_more_the_rewritten_text_or_leave_a_prompt_out(folder):
    row = PROMPTS[0].to_json() | {"model": "x", "prompt": "a long text of a cat"}
    metadata_path(folder, 0).write_text(json.dumps(row, indent=1))
    shutil.rmtree(folder / "00002")
    check_metadata(folder, PROMPTS, ["a long text of a cat", *TEXTS[1:]])
    with pytest.raises(EvaluationError, match=r"00000/metadata.jsonl is another prompt"):
        check_metadata(folder, PROMPTS, TEXTS)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"tag": "colors"}, "is another prompt than 'a cat'"),
        ({"include": [{"class": "cat", "count": 2}]}, "is another prompt"),
        ({"exclude": [{"class": "cat", "count": 2}]}, "is another prompt"),
        ({"prompt": "a dog"}, "is another prompt"),
    ],
)
def test_pictures_of_other_prompts_are_refused(folder, change, named):
    metadata_path(folder, 0).write_text(json.dumps(PROMPTS[0].to_json() | change))
    with pytest.raises(EvaluationError, match=f"00000/metadata.jsonl {named}"):
        check_metadata(folder, PROMPTS, TEXTS)


def test_every_fault_is_named_and_many_are_counted(folder):
    write_metadata(folder, 0, PROMPTS[1])
    write_metadata(folder, 2, PROMPTS[0])
    with pytest.raises(EvaluationError) as error:
        check_metadata(folder, PROMPTS, TEXTS)
    assert "00000/metadata.jsonl is another prompt than 'a cat'" in str(error.value)
    assert "00002/metadata.jsonl is another prompt than 'a red dog'" in str(error.value)
    many = [Prompt("colors", str(n), (Include("dog", 1, "red"),)) for n in range(25)]
    for number in range(25):
        write_metadata(folder, number, PROMPTS[0])
    with pytest.raises(EvaluationError, match="; and 5 more"):
        check_metadata(folder, many, [prompt.text for prompt in many])


def test_a_prompt_without_a_row_is_taken_at_its_number_and_others_do_not_count(folder):
    metadata_path(folder, 0).unlink()
    write_metadata(folder, 7, PROMPTS[0])  # beyond what is asked
    (folder / "notes").mkdir()
    (folder / "notes" / "metadata.jsonl").write_text("{broken")
    check_metadata(folder, PROMPTS, TEXTS)


def test_a_row_is_found_under_a_number_of_any_length_and_may_exclude_nothing(folder):
    (folder / "00000").rename(folder / "0")
    row = PROMPTS[0].to_json() | {"exclude": []}
    (folder / "0" / "metadata.jsonl").write_text(json.dumps(row))
    check_metadata(folder, PROMPTS, TEXTS)
    (folder / "0" / "metadata.jsonl").write_text(json.dumps(row | {"tag": "colors"}))
    with pytest.raises(EvaluationError, match=r"0/metadata\.jsonl is another prompt"):
        check_metadata(folder, PROMPTS, TEXTS)


def put(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def test_given_pictures_are_numbered_in_the_order_of_their_own_numbers(tmp_path):
    put(tmp_path, "00000/grid.png", "00000/samples/00000.png", "00000/samples/00001.PNG")
    put(tmp_path, "1/samples/10.png", "1/samples/9.jpeg", "1/samples/1.webp")
    put(tmp_path, "1/samples/grid.png", "1/samples/2.txt", "1/3.png", "other/samples/0.png")
    assert given_pictures(tmp_path) == {
        "geneval/00000/samples/0000.png": tmp_path / "00000/samples/00000.png",
        "geneval/00000/samples/0001.png": tmp_path / "00000/samples/00001.PNG",
        "geneval/00001/samples/0000.png": tmp_path / "1/samples/1.webp",
        "geneval/00001/samples/0001.png": tmp_path / "1/samples/9.jpeg",
        "geneval/00001/samples/0002.png": tmp_path / "1/samples/10.png",
    }
    assert given_pictures(tmp_path / "none") == {}


@pytest.mark.parametrize(
    "names",
    [
        ("0/samples/0.png", "0/samples/00000.png"),
        ("0/samples/0.png", "0/samples/0.jpg"),
        ("0/samples/0.png", "00000/samples/1.png"),
    ],
)
def test_two_of_one_number_are_refused(tmp_path, names):
    put(tmp_path, *names)
    with pytest.raises(EvaluationError, match="have the same number: keep one of them"):
        given_pictures(tmp_path)


@pytest.mark.parametrize(
    "content", ["{broken", "[]", "", '{"tag": "colors", "tag": "colors"}', "{}\n{}"]
)
def test_a_broken_row_is_named(folder, content):
    metadata_path(folder, 1).write_text(content)
    with pytest.raises(EvaluationError, match=r"00001/metadata.jsonl is no row of JSON"):
        check_metadata(folder, PROMPTS, TEXTS)
