import json
import random

import pytest

from uae.data.geneval import TASKS, Include
from uae.data.starter.prompts import scene_prompts
from uae.data.starter.scenes import sample_facts
from uae.data.starter.vocabulary import CLASSES, COLORS
from uae.errors import EvaluationError
from uae.evaluation.geneval.prompts import read_prompts
from uae.evaluation.geneval.run import true_verdict

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
KNOWN = ("bench", "clock", "cow", "dog")


def write_rows(path, rows, newline="\n"):
    path.write_bytes(newline.join(json.dumps(row) for row in rows).encode())
    return path


def test_official_rows_are_read_and_written_unchanged(tmp_path):
    prompts = read_prompts(
        write_rows(tmp_path / "p.jsonl", OFFICIAL_ROWS), classes=KNOWN, colors=()
    )
    assert [prompt.to_json() for prompt in prompts] == OFFICIAL_ROWS
    assert prompts[2].include[1] == Include("dog", 1, None, "right of", 0)


def test_windows_line_ends_and_a_byte_order_mark_are_accepted(tmp_path):
    path = write_rows(tmp_path / "p.jsonl", OFFICIAL_ROWS, newline="\r\n")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(read_prompts(path, classes=KNOWN, colors=())) == 3


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"tag": "colours"}, "colours"),
        ({"include": [{"class": "unicorn", "count": 1}]}, "unicorn"),
        ({"include": [{"class": "bench", "count": 0}]}, "count"),
        ({"include": [{"class": "bench", "count": 1, "color": "mauve"}]}, "mauve"),
        ({"include": [{"class": "bench", "count": 1, "position": ["behind", 0]}]}, "behind"),
        ({"include": [{"class": "bench", "count": 1, "position": ["above", 0]}]}, "target"),
        ({"include": []}, "empty"),
        ({"prompt": None, "include": None}, "include|NoneType"),
    ],
)
def test_a_bad_row_is_named_by_line(tmp_path, change, named):
    path = write_rows(tmp_path / "p.jsonl", [OFFICIAL_ROWS[1], OFFICIAL_ROWS[0] | change])
    with pytest.raises(EvaluationError, match=f"p.jsonl:2.*({named})"):
        read_prompts(path, classes=KNOWN, colors=("red",))


def test_repeated_broken_and_absent_files_are_refused(tmp_path):
    with pytest.raises(EvaluationError, match="repeats line 1"):
        read_prompts(write_rows(tmp_path / "p", OFFICIAL_ROWS[:1] * 2), classes=KNOWN, colors=())
    (tmp_path / "p").write_text("{not json")
    with pytest.raises(EvaluationError, match=":1"):
        read_prompts(tmp_path / "p", classes=KNOWN, colors=())
    (tmp_path / "p").write_text("\n")
    with pytest.raises(EvaluationError, match="no prompt"):
        read_prompts(tmp_path / "p", classes=KNOWN, colors=())
    with pytest.raises(EvaluationError, match="no GenEval prompt file"):
        read_prompts(tmp_path / "absent", classes=KNOWN, colors=())


def test_every_prompt_is_new_true_of_its_scene_and_in_the_official_format(tmp_path):
    rng = random.Random(0)
    pairs = scene_prompts([sample_facts(rng) for _ in range(150)], 48)
    prompts = [prompt for prompt, _ in pairs]
    assert len(set(prompts)) == 48
    assert [sum(prompt.tag == task for prompt in prompts) for task in TASKS] == [8] * 6
    assert all(true_verdict(prompt, facts) for prompt, facts in pairs)
    relations = {prompt.include[1].relation for prompt in prompts if prompt.tag == "position"}
    assert len(relations) > 1
    path = write_rows(tmp_path / "p.jsonl", [prompt.to_json() for prompt in prompts])
    assert read_prompts(path, classes=CLASSES, colors=tuple(COLORS)) == prompts
