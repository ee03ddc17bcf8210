"""GenEval's scores from verdicts, worked by hand."""

import pytest

from uae.evaluation.geneval.summary import summarise
from uae.evaluation.results import Sample


def samples_of(*prompts):
    """Return the samples of (task, scores); None has no verdict."""
    states = {None: "missing", 0.0: "wrong", 1.0: "scored"}
    return [
        Sample(
            sample_id=f"{number}-{image}",
            part=task,
            state=states[score],
            score=score,
            reason="",
            prompt="",
            caption="",
            seed=0,
            images={},
            evidence={},
        )
        for number, (task, scores) in enumerate(prompts)
        for image, score in enumerate(scores)
    ]


def summary_of(*prompts):
    return summarise(samples_of(*prompts), len(prompts[0][1]), resamples=200, seed=0)


def test_the_score_is_the_plain_mean_of_tasks_and_not_of_pictures():
    found = summary_of(
        ("single_object", [1.0, 1.0]), ("single_object", [1.0, 0.0]), ("colors", [0.0, 0.0])
    )
    assert {task: part.score for task, part in found.parts.items()} == {
        "single_object": 0.75,
        "colors": 0.0,
    }
    assert {task: part.num_samples for task, part in found.parts.items()} == {
        "single_object": 4,
        "colors": 2,
    }
    assert found.score == 0.375
    assert found.bounds is None
    assert found.metrics["correct_images"].score == 0.5
    assert found.metrics["correct_prompts"].score == pytest.approx(2 / 3)
    assert found.metrics["correct_prompts"].num_samples == 3


def test_six_tasks_of_different_size_weigh_the_same():
    tasks = ["single_object", "two_object", "counting", "colors", "position", "color_attr"]
    prompts = [(task, [1.0]) for task in tasks] + [("position", [0.0])] * 9
    found = summary_of(*prompts)
    assert list(found.parts) == tasks
    assert found.score == pytest.approx((5 + 0.1) / 6)
    assert found.metrics["correct_images"].score == pytest.approx(6 / 15)


def test_intervals_resample_prompts_and_not_their_pictures():
    # both pictures of a prompt agree: the mean of 2 prompts can be 0, 0.5 or 1, never 0.25
    found = summary_of(("colors", [1.0] * 8), ("colors", [0.0] * 8))
    assert found.interval == (0.0, 1.0)
    assert found.parts["colors"].interval == (0.0, 1.0)
    certain = summary_of(("colors", [1.0, 0.0]), ("colors", [0.0, 1.0]))
    assert certain.interval == (0.5, 0.5)


def test_a_missing_picture_leaves_the_score_open():
    found = summary_of(("colors", [1.0, None]), ("counting", [0.0, 1.0]), ("counting", [0.0, 0.0]))
    assert found.score is None
    assert found.interval is None
    # colors 0.5 to 1, counting 0.25
    assert found.bounds == (pytest.approx(0.375), pytest.approx(0.625))
    assert found.parts["colors"].model_dump() == {"score": 1.0, "interval": None, "num_samples": 1}
    assert found.parts["counting"].score == 0.25
    assert found.parts["counting"].interval is not None
    assert found.metrics["correct_images"].num_samples == 5


def test_a_prompt_is_right_or_wrong_only_where_missing_pictures_cannot_change_it():
    found = summary_of(("colors", [1.0, None]), ("colors", [0.0, None]), ("colors", [0.0, 0.0]))
    part = found.metrics["correct_prompts"]
    assert (part.score, part.num_samples, part.interval) == (0.5, 2, None)


def test_nothing_judged_has_no_score_at_all():
    found = summary_of(("colors", [None, None]))
    assert found.bounds == (0.0, 1.0)
    assert found.parts["colors"].score is None
    assert found.metrics["correct_images"].num_samples == 0
