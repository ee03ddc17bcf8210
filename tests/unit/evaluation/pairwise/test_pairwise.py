import threading

import pytest
from caption_judges import better, first_lover, oracle, shown

from uae.errors import EvaluationError
from uae.evaluation.journal import Shard, Unfinished
from uae.evaluation.known_pictures import known_photographs
from uae.evaluation.pairwise.run import judge_pairs
from uae.evaluation.results import check_comparable, read_result, read_samples
from uae.evaluation.systems.tiny_composed import tiny_vlm
from uae.recipe.pairwise import PairwiseRecipe

A = ["good one", "good two", "poor three", "fair four", "good five"]
B = ["poor 1", "fair 2", "good 3", "fair 4", "poor 5"]


def content(folder):
    return {name: (folder / name).read_bytes() for name in ("results.json", "samples.parquet")}


@pytest.fixture
def folders(folder_of):
    return folder_of("alpha", A), folder_of("beta", B)


def test_one_judge_worked_by_hand(folders, judge, tmp_path):
    result = judge(*folders, {"oracle": oracle})
    # won 1, 2 and 5, lost 3, tied 4
    assert result.score == pytest.approx((3 + 0.5) / 5)
    assert result.parts["oracle"].score == result.score
    assert result.metrics["order_agreement"].score == 1.0
    shares = [result.metrics[f"{name}/oracle"].score for name in ("wins", "ties", "losses")]
    assert shares == pytest.approx([3 / 5, 1 / 5, 1 / 5])
    assert result.metrics["first_chosen/oracle"].score == 0.5
    assert result.self_test["accuracy"] == 1.0
    assert result.system["name"] == "alpha vs beta"
    assert result.states == {"scored": 5, "wrong": 0, "judge_error": 0, "missing": 0, "dropped": 0}
    assert result == read_result(tmp_path / "out")
    assert [sample.score for sample in read_samples(tmp_path / "out")] == [1.0, 1.0, 0.0, 0.5, 1.0]


def test_the_evidence_names_every_verdict_and_the_picture_is_kept(folders, judge, tmp_path):
    judge(*folders, {"oracle": oracle})
    sample = read_samples(tmp_path / "out")[2]
    assert [(v["judge"], v["order"], v["choice"]) for v in sample.evidence["verdicts"]] == [
        ("oracle", "ab", "b"),
        ("oracle", "ba", "b"),
    ]
    assert sample.evidence["verdicts"][0]["reply"] == better("second")
    assert sample.evidence["facts"] == {"captions": {"a": "poor three", "b": "good 3"}}
    kept, original = (f / sample.images["original"] for f in (tmp_path / "out", folders[0]))
    assert kept.read_bytes() == original.read_bytes()


def test_exchanging_the_systems_exchanges_wins_and_losses(folders, judge):
    forward = judge(*folders, {"oracle": oracle})
    backward = judge(*folders[::-1], {"oracle": oracle}, out="back")
    assert backward.score == pytest.approx(1 - forward.score)


def test_a_judge_that_loves_what_stands_first_decides_nothing_and_is_seen(folders, judge):
    result = judge(*folders, {"oracle": oracle, "lover": first_lover})
    assert {name: part.score for name, part in result.parts.items()} == {
        "oracle": pytest.approx(0.7),
        "lover": 0.5,
    }
    assert result.score == pytest.approx((0.7 + 0.5) / 2)
    assert result.metrics["order_agreement/lover"].score == 0.0
    assert result.metrics["order_agreement"].score == 0.5
    assert result.metrics["first_chosen/lover"].score == 1.0
    assert result.metrics["ties/lover"].score == 1.0
    assert result.self_test["groups"]["lover/yes"] == "3/3"
    assert result.self_test["groups"]["lover/no"] == "0/3"


@pytest.mark.parametrize(
    "answer", [first_lover, lambda pictures, text: better("tie"), lambda pictures, text: "First!"]
)
def test_a_judge_that_does_not_know_photographs_is_refused_before_it_judges(
    answer, folders, judge, serve, tmp_path
):
    server = serve(answer)
    with pytest.raises(EvaluationError, match="self-test failed: the judges' verdicts"):
        judge(*folders, {"good": oracle, "bad": server}, min_self_test_accuracy=0.8)
    assert len(server.requests) == 2 * len(known_photographs())
    assert not (tmp_path / "out" / "results.json").exists()


def test_the_first_failure_of_a_self_test_is_named(folders, judge, serve):
    server = serve(oracle)
    server.fault = lambda body: "content_filter"
    with pytest.raises(EvaluationError, match=r"verdicts \(6 failed: mute: .*\) agree"):
        judge(*folders, {"mute": server}, min_self_test_accuracy=0.5)


def mute_on(words):
    """Answer nothing that can be read where the first caption is one of these."""
    return lambda pictures, text: "Hm." if shown(text)[0] in words else oracle(pictures, text)


def test_a_missing_verdict_leaves_bounds_and_can_be_asked_for_again(
    folders, judge, serve, tmp_path
):
    server = serve(mute_on(["good 3"]))  # order "ba" of the third picture
    other = serve(oracle)
    result = judge(*folders, {"oracle": server, "other": other})
    assert (result.score, result.interval) == (None, None)
    assert result.bounds == pytest.approx(((3.5 + 3.5) / 10, (3.5 + 3.5 + 1) / 10))
    assert result.parts["oracle"].num_samples == 4
    assert result.states == {"scored": 4, "wrong": 0, "judge_error": 1, "missing": 0, "dropped": 0}
    sample = read_samples(tmp_path / "out")[2]
    assert sample.reason.startswith("oracle, order ba: the reply is no verdict (no JSON object)")
    assert [v["choice"] for v in sample.evidence["verdicts"]] == ["b", None, "b", "b"]
    server.answer = oracle
    before = len(server.requests)
    again = judge(*folders, {"oracle": server, "other": other}, retry_failures=True)
    assert again.score == pytest.approx(0.7)
    assert len(server.requests) - before == 2  # one picture in two orders, not the self-test


def test_a_missing_caption_is_neither_won_nor_lost(folder_of, judge, tmp_path):
    a, b = folder_of("one", ["good", None, "good"]), folder_of("two", ["poor", "poor", "poor"])
    result = judge(a, b, {"oracle": oracle})
    assert result.score is None
    assert result.bounds == pytest.approx((2 / 3, 1.0))
    assert result.states == {"scored": 2, "wrong": 0, "judge_error": 0, "missing": 1, "dropped": 0}
    sample = read_samples(tmp_path / "out")[1]
    assert (sample.state, sample.evidence["verdicts"]) == ("missing", [])
    assert sample.reason == "A has no caption: no caption: refused"


def test_num_samples_takes_the_first_pictures(folders, judge):
    few = judge(*folders, {"oracle": oracle}, num_samples=2)
    assert (few.num_samples, few.score) == (2, 1.0)
    whole = judge(*folders, {"oracle": oracle}, out="whole")
    with pytest.raises(EvaluationError, match="prompts"):
        check_comparable(few, whole)


def test_results_of_other_judges_are_not_compared_nor_mixed_in_one_folder(folders, judge):
    one = judge(*folders, {"oracle": oracle})
    with pytest.raises(EvaluationError, match=r"another evaluation.*judges"):
        judge(*folders, {"other": oracle})
    with pytest.raises(EvaluationError, match="judges"):
        check_comparable(one, judge(*folders, {"other": oracle}, out="other"))


@pytest.mark.parametrize("num_requests", [3, 6, 11, 15])
def test_a_killed_comparison_goes_on_to_the_same_bytes(
    num_requests, folders, judge, serve, tmp_path
):
    server = serve(oracle)
    judge(*folders, {"oracle": server}, out="whole")
    total, lock = len(server.requests), threading.Lock()
    begun = []

    def dying(body):
        with lock:
            begun.append(body)
        return "401" if len(begun) > num_requests else ""  # which ends the evaluation at once

    server.fault = dying
    with pytest.raises(EvaluationError, match="401"):
        judge(*folders, {"oracle": server}, out="killed")
    server.fault = lambda body: ""
    before = len(server.requests)
    judge(*folders, {"oracle": server}, out="killed")
    assert len(server.requests) - before <= total - (num_requests >= 6) * 6
    assert content(tmp_path / "killed") == content(tmp_path / "whole")
    done = len(server.requests)
    judge(*folders, {"oracle": server}, out="killed")
    assert len(server.requests) == done


@pytest.mark.parametrize("count", [2, 4])
def test_any_number_of_shards_leaves_the_same_bytes(count, folders, judge, serve, tmp_path):
    server = serve(oracle)
    judge(*folders, {"oracle": server}, out="whole")
    for number in range(count):
        try:
            judge(*folders, {"oracle": server}, out="parts", shard=Shard(number, count))
            last = number
            break
        except Unfinished:
            pass
    assert last == min(count, 3) - 1  # three batches of two pictures
    assert content(tmp_path / "parts") == content(tmp_path / "whole")


def test_a_vision_language_model_judges_end_to_end(folders, tmp_path):
    tiny_vlm(tmp_path / "weights" / "tiny")
    tiny = {"kind": "vlm", "path": "tiny", "dtype": "float32", "max_new_tokens": 4}
    recipe = PairwiseRecipe.model_validate(
        {
            "name": "tiny",
            "seed": 0,
            "num_threads": 1,
            "batch_size": 4,
            "bootstrap_resamples": 20,
            "min_self_test_accuracy": 0.0,
            "num_samples": 2,
            "judges": {"tiny": tiny},
        }
    )
    out = tmp_path / "out"
    result = judge_pairs(*folders, recipe, tmp_path / "weights", out, show_progress=False)
    assert result.states["judge_error"] == 2  # it has not learnt to write JSON
    assert (result.score, result.bounds) == (None, (0.0, 1.0))
    assert result.judges["tiny"]["kind"] == "vlm"
    assert "no verdict" in read_samples(out)[0].reason
