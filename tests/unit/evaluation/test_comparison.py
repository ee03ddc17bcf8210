import itertools

import numpy as np
import pytest
from scipy.stats import permutation_test

from uae.errors import EvaluationError
from uae.evaluation.comparison import NUM_DRAWN, compare, compare_folders, sign_flip_test
from uae.evaluation.results import PromptSet, Result, Sample, count_states, write_results


def sample(number, score, *, part="", prompt="", state="scored"):
    return Sample(
        sample_id=f"s{number}",
        part=part,
        state="missing" if score is None else state,
        score=score,
        reason="",
        prompt=prompt,
        caption="",
        seed=0,
        images={},
        evidence={},
    )


def result(samples, *, name="a", benchmark="unified_bench", unit="points", **changes):
    parts = {}
    for row in samples:
        parts.setdefault(row.part if benchmark == "geneval" else "", []).append(row.score)
    known = all(row.score is not None for row in samples)
    score = float(np.mean([np.mean(values) for values in parts.values()])) if known else None
    values = {
        "benchmark": benchmark,
        "protocol": "p",
        "version": 1,
        "unit": unit,
        "score": score,
        "interval": None,
        "bounds": None,
        "num_samples": len(samples),
        "states": count_states(samples),
        "parts": {},
        "metrics": {},
        "prompts": PromptSet(name="x", source="x", sha256="0", count=len(samples)),
        "system": {"name": name, "kind": "test"},
        "generation": {},
        "judges": {"clip": {"sha256": "1"}},
        "settings": {},
        "self_test": None,
        "key": "",
    } | changes
    return Result(**values)


def scored(values, **options):
    return [sample(number, value, **options) for number, value in enumerate(values)]


def compared(a, b, *, benchmark="unified_bench", unit="points", **options):
    left = result(a, benchmark=benchmark, unit=unit)
    right = result(b, name="b", benchmark=benchmark, unit=unit)
    return compare(left, right, a, b, **{"resamples": 500, "seed": 0, **options})


def test_three_pairs_worked_by_hand():
    found = compared(scored([70.0, 80.0, 90.0]), scored([73.0, 80.0, 96.0]))
    assert (found.score_a, found.score_b) == (80, 83)
    assert found.difference == pytest.approx(3)
    assert (found.better, found.worse, found.equal) == (2, 0, 1)
    # of the signs (+-3, +-6) two patterns of four are as far from 0 as +9
    assert found.p_value == pytest.approx(0.5)
    assert found.test == "sign-flip, exact"
    # the mean of three draws out of 3, 0, 6 is between 0 and 6
    assert found.interval == pytest.approx((0, 6))
    assert (found.num_samples, found.num_pairs) == (3, 3)
    assert (found.a["name"], found.b["name"]) == ("a", "b")


def test_the_other_way_round_it_is_the_negative():
    a, b = scored([70.0, 80.0, 90.0, 20.0]), scored([73.0, 80.0, 96.0, 10.0])
    there, back = compared(a, b), compared(b, a)
    assert there.difference == -back.difference
    assert there.p_value == back.p_value
    assert (there.better, there.worse) == (back.worse, back.better)


def test_samples_are_paired_by_id_not_by_position():
    a = scored([70.0, 80.0, 90.0])
    b = [sample(2, 91.0), sample(0, 71.0), sample(1, 81.0)]
    found = compared(a, b)
    assert found.interval == pytest.approx((1, 1))
    assert found.better == 3


def test_equal_results_differ_by_nothing():
    found = compared(scored([1.0, 2.0]), scored([1.0, 2.0]))
    assert (found.difference, found.p_value, found.equal) == (0, 1, 2)
    assert found.interval == (0, 0)


def test_every_task_of_geneval_weighs_the_same():
    def rows(one, two):
        first = [sample(i, v, part="one", prompt=f"1{i}") for i, v in enumerate(one)]
        second = [sample(10 + i, v, part="two", prompt=f"2{i}") for i, v in enumerate(two)]
        return first + second

    a, b = rows([0.0] * 8, [0.0, 0.0]), rows([0.0] * 8, [1.0, 1.0])
    found = compared(a, b, benchmark="geneval", unit="share")
    assert found.difference == pytest.approx(0.5)  # the plain mean over samples would be 0.2
    assert found.interval == pytest.approx((0.5, 0.5))  # no spread within a task
    assert found.p_value == pytest.approx(0.5)  # two of the four sign patterns of +1, +1
    assert compared(a, b, benchmark="dpg_bench", unit="share").difference == pytest.approx(0.2)


def test_pictures_of_one_prompt_are_one_pair():
    """Ten pictures of two prompts are no ten pieces of evidence."""
    a = [sample(i, 0.0, prompt=f"p{i // 5}") for i in range(10)]
    b = [sample(i, 1.0, prompt=f"p{i // 5}") for i in range(10)]
    found = compared(a, b, benchmark="dpg_bench", unit="share")
    assert (found.num_samples, found.num_pairs, found.better) == (10, 2, 2)
    assert found.p_value == pytest.approx(0.5)


def test_prompts_with_more_pictures_weigh_more_as_in_the_score():
    a = [sample(0, 0.0, prompt="p"), sample(1, 0.0, prompt="p"), sample(2, 0.0, prompt="q")]
    b = [sample(0, 1.0, prompt="p"), sample(1, 1.0, prompt="p"), sample(2, 0.0, prompt="q")]
    found = compared(a, b, benchmark="dpg_bench", unit="share")
    assert found.difference == pytest.approx(2 / 3)
    # prompts' values are 2 / 1.5 and 0: drawn again they give 0, 2/3 or 4/3
    assert found.interval == pytest.approx((0, 4 / 3))


def test_p_values_are_those_of_scipy():
    rng = np.random.default_rng(0)
    few, many = rng.normal(0.4, 1, 10), rng.normal(0.2, 1, 60)

    def by_scipy(values, draws):
        found = permutation_test(
            (values, np.zeros_like(values)),
            lambda x, y, axis: np.sum(x - y, axis=axis),
            permutation_type="samples",
            n_resamples=draws,
            vectorized=True,
            rng=np.random.default_rng(1),
        )
        return found.pvalue

    assert sign_flip_test(few, seed=0) == (
        pytest.approx(by_scipy(few, np.inf), abs=1e-12),
        "sign-flip, exact",
    )
    p_value, test = sign_flip_test(many, seed=0)
    assert test == "sign-flip, drawn"
    assert p_value == pytest.approx(by_scipy(many, 9999), abs=0.015)  # both are drawn
    assert p_value == sign_flip_test(many, seed=0)[0]


def test_every_sign_pattern_is_counted_where_there_are_few():
    values = np.array([0.1, 0.2, 0.3, -0.4, 0.25])
    sums = [abs(np.dot(signs, values)) for signs in itertools.product([1, -1], repeat=5)]
    expected = np.mean([total >= abs(values.sum()) - 1e-12 for total in sums])
    assert sign_flip_test(values, seed=0)[0] == pytest.approx(expected)


def test_a_drawn_p_value_is_never_zero():
    p_value, _ = sign_flip_test(np.ones(100), seed=0)
    assert p_value == pytest.approx(1 / (NUM_DRAWN + 1))


@pytest.mark.parametrize("values", [np.array([]), np.array([1.0, np.nan]), np.ones((2, 2))])
def test_bad_contributions_are_refused(values):
    with pytest.raises(ValueError, match="finite"):
        sign_flip_test(values, seed=0)


def test_samples_without_a_verdict_are_refused_or_excluded_by_name():
    a, b = scored([70.0, None, 90.0]), scored([73.0, 80.0, 96.0])
    with pytest.raises(EvaluationError, match=r"1 samples have no verdict.*: s1;"):
        compared(a, b)
    found = compared(a, b, exclude=["s1"])
    assert (found.num_samples, found.excluded) == (2, ["s1"])
    assert (found.score_a, found.score_b) == (80, 84.5)
    with pytest.raises(EvaluationError, match="no such samples to exclude: s9"):
        compared(a, b, exclude=["s9"])
    with pytest.raises(EvaluationError, match="no sample is left"):
        compared(a, b, exclude=["s0", "s1", "s2"])


def test_different_samples_or_prompts_are_refused():
    a = scored([1.0, 2.0])
    with pytest.raises(EvaluationError, match=r"in one result only: s2"):
        compared(a, scored([1.0, 2.0, 3.0]))
    with pytest.raises(EvaluationError, match=r"s0: '', 'cat' in one result, '', 'dog'"):
        compared(scored([1.0], prompt="cat"), scored([1.0], prompt="dog"))


@pytest.mark.parametrize(
    "change",
    [
        {"protocol": "q"},
        {"version": 2},
        {"judges": {"clip": {"sha256": "2"}}},
        {"prompts": PromptSet(name="x", source="x", sha256="1", count=2)},
    ],
)
def test_results_measured_in_another_way_are_refused(change):
    a = scored([1.0, 2.0])
    with pytest.raises(EvaluationError, match=f"cannot be compared; {next(iter(change))}"):
        compare(result(a), result(a, **change), a, a, resamples=10, seed=0)


def test_a_score_that_is_not_made_of_its_samples_is_refused():
    a = scored([1.0, 2.0])
    with pytest.raises(EvaluationError, match=r"has score 7\.0, but its samples give 1\.5"):
        compare(result(a), result(a, name="b", score=7.0), a, a, resamples=10, seed=0)


def test_folders_are_compared(tmp_path):
    folders = []
    for name, values in (("a", [70.0, 80.0]), ("b", [71.0, 82.0])):
        samples = scored(values)
        folders.append(tmp_path / name)
        write_results(folders[-1], result(samples, name=name), samples)
    found = compare_folders(*folders, resamples=100, seed=0)
    assert found.difference == pytest.approx(1.5)
    assert found.model_validate_json(found.model_dump_json()) == found
    with pytest.raises(EvaluationError, match="no results at"):
        compare_folders(folders[0], tmp_path / "c", resamples=100, seed=0)
