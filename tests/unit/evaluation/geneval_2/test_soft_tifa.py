import numpy as np
import pytest
from scipy.stats import gmean

from uae.evaluation.geneval_2.soft_tifa import arithmetic_mean, geometric_mean, summarise
from uae.evaluation.results import Sample


def test_means_by_hand():
    assert arithmetic_mean([0.2, 0.8]) == pytest.approx(0.5)
    assert geometric_mean([0.2, 0.8]) == pytest.approx(0.4)  # sqrt(0.16)


def test_one_impossible_answer_makes_the_prompt_impossible():
    assert geometric_mean([0.0, 1.0, 1.0]) == 0.0
    assert arithmetic_mean([0.0, 1.0, 1.0]) == pytest.approx(2 / 3)


def test_certain_answers_give_exactly_one():
    assert geometric_mean([1.0] * 7) == arithmetic_mean([1.0] * 7) == 1.0


def test_the_geometric_mean_is_scipys():
    rng = np.random.default_rng(0)
    for size in (1, 3, 20):
        values = rng.uniform(1e-9, 1, size).tolist()
        assert geometric_mean(values) == pytest.approx(gmean(values), rel=1e-12)


def test_the_geometric_mean_is_never_above_the_arithmetic_one():
    rng = np.random.default_rng(1)
    for _ in range(50):
        values = rng.uniform(0, 1, 5).tolist()
        assert geometric_mean(values) <= arithmetic_mean(values) + 1e-15


def sample(number, atom_count):
    return Sample(
        sample_id=str(number),
        part=str(atom_count),
        state="scored",
        score=0.5,
        reason="",
        prompt="a cat",
        caption="",
        seed=0,
        images={},
        evidence={"questions": []},
        soft_tifa_am=0.5,
    )


def test_atomicities_stand_in_the_order_of_numbers(context):
    samples = [sample(number, count) for number, count in enumerate((10, 3, 4, 10))]
    found = summarise(samples, context(), protocol="p")["parts"]
    assert {name: part.num_samples for name, part in found.items()} == {"3": 1, "4": 1, "10": 2}
    assert [*found] == ["3", "4", "10"]
