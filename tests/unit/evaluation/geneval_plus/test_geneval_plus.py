import json
import re

import numpy as np
import pytest
from openai_server import openai_server

from uae.errors import EvaluationError
from uae.evaluation.bootstrap import Interval
from uae.evaluation.geneval_plus.run import GENEVAL_PLUS, run
from uae.evaluation.geneval_plus.self_test import known_cases
from uae.evaluation.journal import Shard, Unfinished
from uae.evaluation.judges.base import JudgeError
from uae.evaluation.known_pictures import known_photographs
from uae.evaluation.one_picture import evaluate
from uae.evaluation.results import read_result, read_samples
from uae.evaluation.systems.base import Capabilities, Failure
from uae.evaluation.systems.tiny_composed import tiny_vlm
from uae.recipe import GenevalPlusRecipe

NUM_KNOWN = len(known_cases())
SERVER = {
    "api_key_env": None,
    "timeout_seconds": 5.0,
    "max_attempts": 2,
    "backoff_seconds": 0.0,
    "concurrency": 4,
}


def row(tag, text, *include):
    return {"tag": tag, "include": list(include), "prompt": text}


ROWS = [
    row("multi_object_count_attr", "one cat", {"class": "cat", "count": 1}),
    row("multi_object_count_attr", "two cats", {"class": "cat", "count": 2}),
    row("multi_object_count_attr", "three cats", {"class": "cat", "count": 3}),
    row("multi_object_count_attr", "four cats", {"class": "cat", "count": 4}),
    row("counting", "one dog", {"class": "dog", "count": 1}),
    row("counting", "two dogs", {"class": "dog", "count": 2}),
]
# What the painter paints; "two cats" and "two dogs" are wrong: tags 3/4 and 1/2.
PAINTED = {
    "one cat": {"cat": 1},
    "two cats": {"cat": 1},
    "three cats": {"cat": 3},
    "four cats": {"cat": 4},
    "one dog": {"dog": 1},
    "two dogs": {"dog": 3},
}


class Swatches:
    """A system that paints one grey for each text; it knows nothing, the judge knows the greys."""

    def __init__(self, *, failing=(), dies_after=None, pictures=True):
        self.identity = {"name": "swatches", "kind": "test", "sha256": "0" * 64}
        self.settings = {"brush": "broad"}
        self.capabilities = Capabilities(captions=False, pictures=pictures)
        self.failing, self.dies_after = failing, dies_after
        self.painted, self.seeds = [], {}

    def caption(self, requests):
        raise NotImplementedError

    def generate(self, requests):
        if self.dies_after is not None and len(self.painted) >= self.dies_after:
            raise RuntimeError("killed")
        self.painted += [asked.text for asked in requests]
        self.seeds |= {asked.text: asked.seed for asked in requests}
        return [
            Failure("refused") if asked.text in self.failing else swatch(asked.text)
            for asked in requests
        ]

    def close(self):
        pass


def swatch(text):
    return np.full((8, 8, 3), 40 * list(PAINTED).index(text), np.uint8)


class Knowing:
    """A judge that knows what is in each picture, and answers by the checklist."""

    def __init__(self, *, replies=None, dies_after=None, blind=False):
        self.identity = {"kind": "knowing", "sha256": "1" * 64}
        self.replies, self.dies_after, self.blind = replies or {}, dies_after, blind
        self.num_asked = 0
        self.content = {swatch(text).tobytes(): objects for text, objects in PAINTED.items()}
        self.content |= {p.picture.tobytes(): {p.classes[0]: 1} for p in known_photographs()}

    def answer(self, requests):
        if self.dies_after is not None and self.num_asked >= self.dies_after:
            raise RuntimeError("killed")
        self.num_asked += len(requests)
        return [self.reply(asked) for asked in requests]

    def reply(self, asked):
        text = re.search("Text: (.*)", asked.text)[1]
        if text in self.replies:
            return self.replies[text]
        objects = self.content[asked.pictures[0].tobytes()]
        exactly = re.findall(r"(\w+): exactly (\d+)", asked.text)
        at_most = re.findall(r"(\w+): at most (\d+)", asked.text)
        right = all(objects.get(name, 0) == int(count) for name, count in exactly)
        right &= all(objects.get(name, 0) <= int(count) for name, count in at_most)
        return json.dumps({"correct": int(right or self.blind), "reason": "miscounted"})


@pytest.fixture
def settings(tmp_path):
    """Make settings for the rows above; keywords replace fields."""

    def make(**changes):
        path = tmp_path / "prompts.jsonl"
        path.write_text("\n".join(json.dumps(entry) for entry in ROWS))
        judge = {"kind": "vlm", "path": "anywhere", "dtype": "float32", "max_new_tokens": 200}
        fields = {
            "prompts": {"source": str(path), "sha256": None},
            "num_prompts": None,
            "judge": judge,
        }
        return GenevalPlusRecipe.model_validate(fields | changes)

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
    return evaluate(GENEVAL_PLUS, settings, context, system or Swatches(), out, lambda: judge)


def test_the_score_is_the_mean_of_the_tags_accuracies(settings, context_of, tmp_path):
    result = judged(settings(), context_of(), tmp_path / "out")
    assert result.score == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert {tag: part.score for tag, part in result.parts.items()} == {
        "multi_object_count_attr": 0.75,
        "counting": 0.5,
    }
    assert result.metrics["correct_images"].score == pytest.approx(4 / 6)
    assert result.states == {"scored": 4, "wrong": 2, "judge_error": 0, "missing": 0, "dropped": 0}
    assert result.bounds is None
    assert result.interval.low < result.score < result.interval.high
    assert (result.benchmark, result.protocol, result.unit) == (
        "geneval_plus",
        "geneval++",
        "share",
    )
    assert read_result(tmp_path / "out") == result


def test_the_result_says_who_judged_and_in_which_words(settings, context_of, tmp_path):
    result = judged(settings(), context_of(), tmp_path / "out")
    judge = result.judges["checklist"]
    assert (judge["kind"], judge["instruction"]) == ("knowing", "geneval_plus/1")
    assert len(judge["instruction_sha256"]) == 64
    assert result.settings["judge"] == {"kind": "vlm", "dtype": "float32", "max_new_tokens": 200}
    assert result.settings.items() >= context_of().deciding.items()
    assert result.prompts.count == 6
    assert result.self_test["accuracy"] == 1.0
    assert str(tmp_path) not in (tmp_path / "out" / "evaluation.json").read_text()


def test_every_sample_has_its_evidence(settings, context_of, tmp_path):
    system = Swatches()
    judged(settings(), context_of(), tmp_path / "out", system)
    samples = read_samples(tmp_path / "out")
    assert [sample.sample_id for sample in samples] == ["1", "2", "3", "4", "5", "6"]
    right, wrong = samples[0], samples[1]
    assert (right.state, right.score, right.reason) == ("scored", 1.0, "")
    assert (wrong.state, wrong.score, wrong.reason) == ("wrong", 0.0, "miscounted")
    assert wrong.evidence["metadata"] == ROWS[1]
    assert wrong.evidence["reply"] == '{"correct": 0, "reason": "miscounted"}'
    assert wrong.model_extra == {"checklist": "1. cat: exactly 2"}
    assert wrong.images == {"generated": "images/2.png"}
    assert (tmp_path / "out" / "images" / "2.png").is_file()
    assert {sample.prompt: sample.seed for sample in samples} == system.seeds
    assert len(set(system.seeds.values())) == 6


def test_what_was_not_judged_is_neither_right_nor_wrong(settings, context_of, tmp_path):
    judge = Knowing(replies={"one cat": "I cannot tell.", "one dog": JudgeError("timeout")})
    system = Swatches(failing=("three cats",))
    result = judged(settings(), context_of(), tmp_path / "out", system, judge)
    assert result.states == {"scored": 1, "wrong": 2, "judge_error": 2, "missing": 1, "dropped": 0}
    assert result.score is None
    assert result.interval is None
    # cats: one right, one wrong, two open: 1/4 to 3/4; dogs: one wrong, one open: 0 to 1/2
    assert result.bounds == Interval(1 / 8, 5 / 8)
    samples = {sample.prompt: sample for sample in read_samples(tmp_path / "out")}
    assert "I cannot tell." in samples["one cat"].reason
    assert samples["one cat"].evidence["reply"] == "I cannot tell."
    assert samples["one dog"].reason == "timeout"
    assert samples["three cats"].reason == "refused"
    assert samples["three cats"].images == {}
    assert samples["three cats"].score is None


def test_what_failed_is_done_again_and_nothing_else(settings, context_of, tmp_path):
    judged(settings(), context_of(), tmp_path / "whole")
    failing = Swatches(failing=("three cats",))
    judge = Knowing(replies={"one dog": JudgeError("timeout")})
    judged(settings(), context_of(), tmp_path / "out", failing, judge)
    system, again = Swatches(), Knowing()
    result = judged(settings(), context_of(retry_failures=True), tmp_path / "out", system, again)
    assert system.painted == ["three cats"]
    assert again.num_asked == 2
    assert result.score == pytest.approx(0.625)
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_a_judge_that_gives_no_reason_is_told_of(settings, context_of, tmp_path):
    judge = Knowing(replies={"one cat": '{"correct": 0}'})
    judged(settings(), context_of(), tmp_path / "out", judge=judge)
    assert read_samples(tmp_path / "out")[0].reason == "the judge gives no reason"


def files(out):
    return (out / "results.json").read_bytes(), (out / "samples.parquet").read_bytes()


@pytest.mark.parametrize(
    ("system", "judge"),
    [
        (Swatches(dies_after=2), Knowing()),
        (Swatches(), Knowing(dies_after=10)),  # in the self-test
        (Swatches(), Knowing(dies_after=NUM_KNOWN + 2)),  # after one batch
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
    assert len(system.painted) + len(second.painted) == 6
    assert judge.num_asked + again.num_asked <= NUM_KNOWN + 6 + 10


def test_shards_leave_the_same_files(settings, context_of, tmp_path):
    judged(settings(), context_of(), tmp_path / "whole")
    with pytest.raises(Unfinished):
        judged(settings(), context_of(shard=Shard(0, 2)), tmp_path / "shards")
    judged(settings(), context_of(shard=Shard(1, 2)), tmp_path / "shards")
    assert files(tmp_path / "shards") == files(tmp_path / "whole")


def test_a_finished_evaluation_is_not_done_again(settings, context_of, tmp_path):
    first = judged(settings(), context_of(), tmp_path / "out")
    system, judge = Swatches(), Knowing()
    assert judged(settings(), context_of(), tmp_path / "out", system, judge) == first
    assert (system.painted, judge.num_asked) == ([], 0)


def test_another_judge_needs_another_folder(settings, context_of, tmp_path):
    judged(settings(), context_of(), tmp_path / "out")
    other = Knowing()
    other.identity = {"kind": "other", "sha256": "2" * 64}
    with pytest.raises(EvaluationError, match="another evaluation"):
        judged(settings(), context_of(), tmp_path / "out", judge=other)


def test_a_judge_that_always_agrees_does_not_score(settings, context_of, tmp_path):
    system = Swatches()
    with pytest.raises(EvaluationError, match="self-test failed: the judge's verdicts"):
        judged(settings(), context_of(), tmp_path / "out", system, Knowing(blind=True))
    assert system.painted == []


def test_a_judge_without_verdicts_does_not_score(settings, context_of, tmp_path):
    replies = {f"A photo of one {p.classes[0]}": JudgeError("timeout") for p in known_photographs()}
    with pytest.raises(EvaluationError, match="self-test failed"):
        judged(settings(), context_of(), tmp_path / "out", judge=Knowing(replies=replies))


def test_a_system_that_does_not_paint_is_refused(settings, context_of, tmp_path):
    with pytest.raises(EvaluationError, match="paint pictures"):
        judged(settings(), context_of(), tmp_path / "out", Swatches(pictures=False))


def test_more_prompts_than_there_are_are_refused(settings, context_of, tmp_path):
    with pytest.raises(EvaluationError, match=r"num_prompts is 7, .* holds 6"):
        judged(settings(num_prompts=7), context_of(), tmp_path / "out")


def test_the_first_prompts_can_be_chosen(settings, context_of, tmp_path):
    result = judged(settings(num_prompts=4), context_of(), tmp_path / "out")
    assert result.score == 0.75
    assert (result.num_samples, result.prompts.count) == (4, 4)


def test_a_server_judges(settings, context_of, tmp_path):
    knowing = Knowing()

    def answer(pictures, text):
        asked = type("Asked", (), {"pictures": pictures, "text": text})
        return f"```json\n{knowing.reply(asked)}\n```"

    with openai_server(answer=answer) as server:
        judge = {
            "kind": "server",
            "server": SERVER | {"base_url": server.url},
            "model": "knowing",
            "max_new_tokens": 200,
            "log_probs": False,
        }
        result = run(settings(judge=judge), context_of(), Swatches(), tmp_path / "out")
        server.fault = lambda body: "500" if "Text: one cat" in str(body) else ""
        open_ = run(settings(judge=judge), context_of(), Swatches(), tmp_path / "open")
    assert result.score == pytest.approx(0.625)
    assert result.settings["judge"]["model"] == "knowing"
    assert (open_.score, open_.states["judge_error"]) == (None, 1)


def test_a_model_that_talks_nonsense_gives_no_verdict(settings, context, tmp_path):
    tiny_vlm(tmp_path / "judge")
    judge = {
        "kind": "vlm",
        "path": str(tmp_path / "judge"),
        "dtype": "float32",
        "max_new_tokens": 4,
    }
    result = run(settings(judge=judge), context(), Swatches(), tmp_path / "out")
    assert result.states["judge_error"] == 6
    assert (result.score, result.bounds) == (None, Interval(0.0, 1.0))
    assert len(result.self_test["no_verdict"]) == NUM_KNOWN
