"""Official prompt files by both protocols, with every answer known and every score by hand."""

import numpy as np
import pytest

from uae.errors import EvaluationError
from uae.evaluation.dpg_bench.prompts import COLUMNS
from uae.evaluation.dpg_bench.run import evaluate
from uae.evaluation.results import read_samples
from uae.evaluation.systems.base import Capabilities, Failure
from uae.recipe import DpgBenchRecipe, PromptFile, VlmJudgeRecipe

JUDGE = VlmJudgeRecipe(kind="vlm", path="x", dtype="float32", max_new_tokens=1)


class Numbers:
    """Paints one number for each place: 4 * item + crop."""

    identity = {"name": "numbers", "kind": "numbers", "sha256": "0"}  # noqa: RUF012
    capabilities = Capabilities(captions=False, pictures=True)
    settings = {}  # noqa: RUF012

    def __init__(self, item_ids, failing=()):
        self.item_ids, self.failing = item_ids, failing

    def generate(self, requests):
        pictures = []
        for request in requests:
            _, item_id, crop = request.place.removesuffix(".png").split("/")
            number = 4 * self.item_ids.index(item_id) + int(crop)
            refused = item_id in self.failing
            picture = np.full((2, 2, 3), number, dtype=np.uint8)
            pictures.append(Failure("refused") if refused else picture)
        return pictures

    def close(self):
        pass


class Table:
    """Says no to (item, crop, question) of `noes`, yes to everything else."""

    identity = {"kind": "table", "sha256": "0"}  # noqa: RUF012

    def __init__(self, item_ids, noes):
        self.noes = {(4 * item_ids.index(item) + crop, asked) for item, crop, asked in noes}

    def probabilities(self, pictures, questions, picture_of):
        numbers = [int(picture[0, 0, 0]) for picture in pictures]
        return [
            float((numbers[index], question) not in self.noes)
            for question, index in zip(questions, picture_of, strict=True)
        ]


LINES = (
    ",".join(COLUMNS),
    "a,a cat,,1,0,entity,whole,entity - whole (cat),cat?",
    'a,a cat,,2,1,attribute,color,"attribute - color (cat, red)",red?',
    "b,a dog,,1,0,entity,whole,entity - whole (dog),dog?",
    'b,a dog,,2,1,attribute,color,"attribute - color (dog, blue)",blue?',
    'b,a dog,,3,"1,2",relation,spatial,"relation - spatial (dog, cat, on)",on?',
    "c,a sun,,1,0,entity,whole,entity - whole (sun),sun?",
)
NOES = [("a", 0, "red?"), ("b", 3, "dog?"), ("c", 0, "sun?"), ("c", 1, "sun?")]


@pytest.fixture
def official_file(context, tmp_path):
    """Evaluate an official file of three items, all answers known."""

    def evaluate_by(protocol, *, lines=LINES, name=None, num_prompts=None, failing=()):
        path = tmp_path / "dpg_bench.csv"
        path.write_text("\n".join(lines), encoding="utf-8")
        settings = DpgBenchRecipe(
            prompts=PromptFile(source=str(path), sha256=None),
            num_prompts=num_prompts,
            protocol=protocol,
            judge=JUDGE,
        )
        ids = ["a", "b", "c"]
        table, out = Table(ids, NOES), tmp_path / (name or protocol)
        found = evaluate(settings, context(), Numbers(ids, failing), lambda: table, out)
        return found, read_samples(out)

    return evaluate_by


def test_a_worked_example_by_the_fixed_protocol(official_file):
    result, samples = official_file("fixed")
    # a: (1/2 + 1 + 1 + 1) / 4; b: (1 + 1 + 1 + 0) / 4, the dog's "no" zeroes blue and on; c: 2 / 4
    assert [sample.score for sample in samples] == [7 / 8, 3 / 4, 1 / 2]
    assert result.score == pytest.approx((7 / 8 + 3 / 4 + 1 / 2) / 3)
    assert {name: part.score for name, part in result.parts.items()} == {
        "attribute": (3 + 3) / 8,
        "entity": (4 + 3 + 2) / 12,
        "relation": 3 / 4,
    }
    assert result.prompts.name == "dpg-bench"
    assert result.prompts.count == 3


def test_the_same_example_by_the_official_protocol(official_file):
    result, samples = official_file("official")
    # a loses question 1 and is dropped; categories: last crop, before the rule
    assert [sample.score for sample in samples] == [None, 3 / 4, 1 / 2]
    assert result.score == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert {name: part.score for name, part in result.parts.items()} == {
        "attribute": 1.0,
        "entity": 1 / 2,
        "relation": 1.0,
    }
    assert result.states == {"scored": 2, "wrong": 0, "judge_error": 0, "missing": 0, "dropped": 1}
    assert result.prompts.sha256 == official_file("fixed")[0].prompts.sha256


def test_a_lost_question_that_nothing_depends_on_only_shortens_its_item(official_file):
    free = [LINES[0], LINES[1], LINES[2].replace(",2,1,", ",2,0,"), *LINES[3:]]
    assert official_file("fixed", lines=free)[1][0].score == 7 / 8
    assert official_file("official", lines=free)[1][0].score == 3 / 4  # "red?" alone


def test_the_official_protocol_takes_a_file_that_the_fixed_one_refuses(official_file):
    odd = [*LINES[:5], LINES[5].replace('"1,2"', '"1,7"'), LINES[6]]
    with pytest.raises(EvaluationError, match=r"item 'b' depends on questions .*\[7\]"):
        official_file("fixed", lines=odd)
    _, samples = official_file("official", lines=odd)
    assert [sample.state for sample in samples] == ["dropped", "dropped", "scored"]
    assert samples[1].reason == "dropped: the published script fails, as there is no question 7"


def test_num_prompts_takes_the_first_items(official_file):
    result, samples = official_file("fixed", num_prompts=2)
    assert [sample.sample_id for sample in samples] == ["a", "b"]
    assert (result.num_samples, result.prompts.count) == (2, 2)
    assert result.prompts.sha256 != official_file("fixed", name="all")[0].prompts.sha256


def test_failures_are_dropped_officially_and_bounded_else(official_file):
    fixed, _ = official_file("fixed", failing=["b"])
    official, samples = official_file("official", failing=["b"])
    assert fixed.bounds == pytest.approx(((7 / 8 + 0 + 1 / 2) / 3, (7 / 8 + 1 + 1 / 2) / 3))
    assert official.score == 1 / 2
    assert [sample.state for sample in samples] == ["dropped", "missing", "scored"]
