import json

import numpy as np
import pytest

from uae.errors import EvaluationError
from uae.evaluation.bootstrap import Interval
from uae.evaluation.geneval_2.run import GENEVAL_2
from uae.evaluation.geneval_2.self_test import known_questions
from uae.evaluation.journal import Shard, Unfinished
from uae.evaluation.judges.base import JudgeError
from uae.evaluation.known_pictures import known_photographs
from uae.evaluation.one_picture import evaluate
from uae.evaluation.results import read_result, read_samples
from uae.evaluation.systems.base import Capabilities, Failure
from uae.recipe import Geneval2Recipe

NUM_KNOWN = len(known_questions())


def row(text, atom_count, *atoms):
    return {
        "prompt": text,
        "atom_count": atom_count,
        "vqa_list": [[question, answer] for question, answer, _ in atoms],
        "skills": [skill for _, _, skill in atoms],
    }


ROWS = [
    row("two red cats", 2, ("How many cats?", "two", "count"), ("Red?", "Yes", "attribute")),
    row("a dog", 1, ("Any dogs?", "Yes", "object")),
    row("three cows", 1, ("How many cows?", "three", "count"), ("Any cows?", "Yes", "object")),
]
PROBABILITIES = {
    "How many cats?": 0.2,
    "Red?": 0.8,  # GM 0.4, AM 0.5
    "Any dogs?": 0.9,
    "How many cows?": 0.0,
    "Any cows?": 1.0,  # GM 0, AM 0.5
}
NUM_ATOMS = len(PROBABILITIES)


class Swatches:
    """A system that paints one grey for each text."""

    def __init__(self, *, failing=(), dies_after=None, pictures=True):
        self.identity = {"name": "swatches", "kind": "test", "sha256": "0" * 64}
        self.settings = {"brush": "broad"}
        self.capabilities = Capabilities(captions=False, pictures=pictures)
        self.failing, self.dies_after = failing, dies_after
        self.painted = []

    def caption(self, requests):
        raise NotImplementedError

    def generate(self, requests):
        if self.dies_after is not None and len(self.painted) >= self.dies_after:
            raise RuntimeError("killed")
        self.painted += [asked.text for asked in requests]
        return [
            Failure("refused") if asked.text in self.failing else swatch(asked.text)
            for asked in requests
        ]

    def close(self):
        pass


def swatch(text):
    number = [entry["prompt"] for entry in ROWS].index(text)
    return np.full((8, 8, 3), 40 * number, np.uint8)


class Knowing:
    """A judge with fixed answers, each about its own picture only; it knows the photographs."""

    def __init__(self, *, errors=(), dies_after=None, blind=False):
        self.identity = {"kind": "knowing", "sha256": "1" * 64}
        self.errors, self.dies_after, self.blind = errors, dies_after, blind
        self.num_asked = 0
        self.right = {}
        for entry in ROWS:
            for question, _ in entry["vqa_list"]:
                self.right[swatch(entry["prompt"]).tobytes(), question] = PROBABILITIES[question]
        for known in known_photographs():
            for question, answer in known.questions:
                self.right[known.picture.tobytes(), question] = 0.99 if answer else 0.01

    def answer_probabilities(self, pictures, questions, answers, picture_of):
        if self.dies_after is not None and self.num_asked >= self.dies_after:
            raise RuntimeError("killed")
        self.num_asked += len(questions)
        return [
            self.answer(pictures[index].tobytes(), question, forms)
            for index, question, forms in zip(picture_of, questions, answers, strict=True)
        ]

    def answer(self, picture, question, forms):
        text = question.removesuffix(" Answer in one word.")
        if text in self.errors:
            return JudgeError("timeout")
        if text.endswith(" are in the image?"):  # of the photographs: there is one of each
            return 0.97 if self.blind or "one" in forms else 0.02
        return self.right[picture, text]


class YesNo:
    """A judge that only tells yes from no."""

    def __init__(self):
        self.identity = {"kind": "yes-no"}

    def probabilities(self, pictures, questions, picture_of):
        return [1.0] * len(questions)


@pytest.fixture
def settings(tmp_path):
    """Make settings for the rows above; keywords replace fields."""

    def make(**changes):
        path = tmp_path / "prompts.jsonl"
        path.write_text("\n".join(json.dumps(entry) for entry in ROWS))
        judge = {"kind": "vlm", "path": "anywhere", "dtype": "float32", "max_new_tokens": 20}
        fields = {
            "prompts": {"source": str(path), "sha256": None},
            "num_prompts": None,
            "judge": judge,
        }
        return Geneval2Recipe.model_validate(fields | changes)

    return make


@pytest.fixture
def context_of(context, recipe_with):
    """A context with a strict self-test and two prompts in a batch."""

    def make(**changes):
        judging = recipe_with(min_self_test_accuracy=1.0, batch_size=2).evaluation
        return context(judging=judging, **changes)

    return make


def judged(settings, context, out, system=None, judge=None):
    judge = judge or Knowing()
    return evaluate(GENEVAL_2, settings, context, system or Swatches(), out, lambda: judge)


def test_scores_by_hand(settings, context_of, tmp_path):
    result = judged(settings(), context_of(), tmp_path / "out")
    assert result.score == pytest.approx((0.4 + 0.9 + 0.0) / 3)
    metrics = {name: part.score for name, part in result.metrics.items()}
    assert metrics == {
        "soft_tifa_am": pytest.approx((0.5 + 0.9 + 0.5) / 3),
        "skill_object": pytest.approx((0.9 + 1.0) / 2),
        "skill_attribute": pytest.approx(0.8),
        "skill_count": pytest.approx((0.2 + 0.0) / 2),
        "skill_position": None,
        "skill_verb": None,
    }
    assert [*result.parts] == ["1", "2"]
    assert result.parts["1"].score == pytest.approx(0.45)
    assert result.parts["2"].score == pytest.approx(0.4)
    assert result.states == {"scored": 3, "wrong": 0, "judge_error": 0, "missing": 0, "dropped": 0}
    assert (result.benchmark, result.protocol) == ("geneval_2", "geneval2/soft-tifa-gm")
    assert result.interval.low < result.score < result.interval.high
    assert read_result(tmp_path / "out") == result


def test_every_sample_has_its_evidence(settings, context_of, tmp_path):
    judged(settings(), context_of(), tmp_path / "out")
    samples = read_samples(tmp_path / "out")
    assert [sample.sample_id for sample in samples] == ["0", "1", "2"]
    cats = samples[0]
    assert (cats.state, cats.part, cats.score) == ("scored", "2", pytest.approx(0.4))
    assert cats.model_extra == {"soft_tifa_am": pytest.approx(0.5)}
    assert cats.images == {"generated": "images/0.png"}
    assert (tmp_path / "out" / "images" / "0.png").is_file()
    assert cats.evidence["metadata"] == ROWS[0]
    assert cats.evidence["questions"] == [
        {
            "number": 1,
            "question": "How many cats?",
            "tuple": "count",
            "parents": [],
            "expected": "two",
            "p_yes": [0.2],
            "answers": [False],
        },
        {
            "number": 2,
            "question": "Red?",
            "tuple": "attribute",
            "parents": [],
            "expected": "Yes",
            "p_yes": [0.8],
            "answers": [True],
        },
    ]


def test_the_result_says_who_answered_what(settings, context_of, tmp_path):
    result = judged(settings(), context_of(), tmp_path / "out")
    assert result.judges == {"answers": Knowing().identity | {"asked": "Answer in one word."}}
    assert result.settings["judge"] == {"kind": "vlm", "dtype": "float32", "max_new_tokens": 20}
    assert result.self_test["groups"]["numbers/yes"] == "3/3"
    assert result.self_test["groups"]["numbers/no"] == "3/3"
    assert set(result.classification["self_test"]) == {"confusion", "roc"}
    assert str(tmp_path) not in (tmp_path / "out" / "evaluation.json").read_text()


def test_one_unanswered_question_leaves_its_sample_open(settings, context_of, tmp_path):
    judge = Knowing(errors=("Red?",))
    system = Swatches(failing=("a dog",))
    result = judged(settings(), context_of(), tmp_path / "out", system, judge)
    assert result.states == {"scored": 1, "wrong": 0, "judge_error": 1, "missing": 1, "dropped": 0}
    assert result.score is None
    assert result.bounds == Interval(0.0, 2 / 3)  # cows are 0; the two others 0 to 1
    assert result.metrics["skill_count"].score == 0.0  # of the cows alone
    cats, dog, _ = read_samples(tmp_path / "out")
    assert (cats.state, cats.score, cats.reason) == ("judge_error", None, "Red? timeout")
    assert [question["p_yes"] for question in cats.evidence["questions"]] == [[0.2], [None]]
    assert (dog.state, dog.reason, dog.images) == ("missing", "refused", {})
    assert [question["p_yes"] for question in dog.evidence["questions"]] == [[None]]


def files(out):
    return (out / "results.json").read_bytes(), (out / "samples.parquet").read_bytes()


@pytest.mark.parametrize(
    ("system", "judge"),
    [
        (Swatches(dies_after=2), Knowing()),
        (Swatches(), Knowing(dies_after=4)),  # in the self-test
        (Swatches(), Knowing(dies_after=NUM_KNOWN + 3)),  # after one batch
    ],
    ids=["painting", "self-test", "judging"],
)
def test_a_killed_evaluation_goes_on(settings, context_of, tmp_path, system, judge):
    judged(settings(), context_of(), tmp_path / "whole")
    with pytest.raises(RuntimeError, match="killed"):
        judged(settings(), context_of(), tmp_path / "killed", system, judge)
    second, again = Swatches(), Knowing()
    judged(settings(), context_of(), tmp_path / "killed", second, again)
    assert files(tmp_path / "killed") == files(tmp_path / "whole")
    assert len(system.painted) + len(second.painted) == 3
    assert judge.num_asked + again.num_asked <= NUM_KNOWN + NUM_ATOMS + 4


def test_shards_leave_the_same_files(settings, context_of, tmp_path):
    judged(settings(), context_of(), tmp_path / "whole")
    with pytest.raises(Unfinished):
        judged(settings(), context_of(shard=Shard(1, 2)), tmp_path / "shards")
    judged(settings(), context_of(shard=Shard(0, 2)), tmp_path / "shards")
    assert files(tmp_path / "shards") == files(tmp_path / "whole")


def test_a_finished_evaluation_is_not_done_again(settings, context_of, tmp_path):
    first = judged(settings(), context_of(), tmp_path / "out")
    system, judge = Swatches(), Knowing()
    assert judged(settings(), context_of(), tmp_path / "out", system, judge) == first
    assert (system.painted, judge.num_asked) == ([], 0)


def test_a_judge_that_cannot_count_does_not_score(settings, context_of, tmp_path):
    system = Swatches()
    with pytest.raises(EvaluationError, match=r"in 'numbers', 100\.0% is required"):
        judged(settings(), context_of(), tmp_path / "out", system, Knowing(blind=True))
    assert system.painted == []


def test_a_judge_that_does_not_answer_does_not_score(settings, context_of, tmp_path):
    judge = Knowing(errors=("Is there a cat in the picture?",))
    with pytest.raises(EvaluationError, match="self-test failed"):
        judged(settings(), context_of(), tmp_path / "out", judge=judge)


def test_a_system_that_does_not_paint_is_refused(settings, context_of, tmp_path):
    with pytest.raises(EvaluationError, match="paint pictures"):
        judged(settings(), context_of(), tmp_path / "out", Swatches(pictures=False))


def test_more_prompts_than_there_are_are_refused(settings, context_of, tmp_path):
    with pytest.raises(EvaluationError, match=r"num_prompts is 4, .* holds 3"):
        judged(settings(num_prompts=4), context_of(), tmp_path / "out")


def test_the_first_prompts_can_be_chosen(settings, context_of, tmp_path):
    result = judged(settings(num_prompts=1), context_of(), tmp_path / "out")
    assert (result.score, result.prompts.count) == (pytest.approx(0.4), 1)
