"""From answers to samples, and from samples to category scores: the evidence holds all of it."""

from collections.abc import Iterable, Mapping, Sequence

from uae.evaluation.dpg_bench.grids import NUM_CROPS, grid_path, item_seed
from uae.evaluation.dpg_bench.judging import THRESHOLD
from uae.evaluation.dpg_bench.rules import (
    Item,
    ItemScore,
    Protocol,
    category_answers,
    level_1,
    score_item,
)
from uae.evaluation.judges.base import JudgeError
from uae.evaluation.results import Part, Sample, State
from uae.evaluation.scoring import pooled_part

CropAnswers = Sequence[Mapping[int, float | JudgeError]]  # crop -> question number -> p(yes)


def missing_sample(item: Item, reason: str, seed: int) -> Sample:
    """Return the sample of an item whose grid is missing."""
    nothing: CropAnswers = [{} for _ in range(NUM_CROPS)]
    return _sample(item, "missing", ItemScore(None, reason=reason), nothing, seed)


def judged_sample(item: Item, answers: CropAnswers, protocol: Protocol, seed: int) -> Sample:
    """Return the sample of an item whose questions were asked; any failed answer leaves it open."""
    failures = [
        f"picture {crop}, question {number}: {answer.reason}"
        for crop, of_crop in enumerate(answers)
        for number, answer in of_crop.items()
        if isinstance(answer, JudgeError)
    ]
    state: State
    if failures:
        more = f" ({len(failures)} answers failed)" if len(failures) > 1 else ""
        score, state = ItemScore(None, reason=failures[0] + more), "judge_error"
    else:
        yes = [{number: p > THRESHOLD for number, p in _known(crop).items()} for crop in answers]
        score = score_item(item, yes, protocol)
        state = "dropped" if score.score is None else "scored"
    return _sample(item, state, score, answers, seed)


def category_parts(
    samples: Iterable[Sample], protocol: Protocol, resamples: int, seed: int
) -> tuple[dict[str, Part], dict[str, Part]]:
    """Return the scores of the level-1 and of the level-2 categories, by name.

    A category's score is the mean over its questions. Items are what is drawn again for the
    interval, each with all of its questions; `num_samples` counts items.
    """
    levels: tuple[dict[str, list[list[bool]]], dict[str, list[list[bool]]]] = ({}, {})
    for sample in samples:
        if sample.state != "scored":
            continue
        broad: dict[str, list[bool]] = {}
        for category, values in _sample_categories(sample, protocol).items():
            levels[1].setdefault(category, []).append(values)
            broad.setdefault(level_1(category), []).extend(values)
        for category, values in broad.items():
            levels[0].setdefault(category, []).append(values)
    first, second = (
        {name: pooled_part(groups, resamples, seed) for name, groups in sorted(level.items())}
        for level in levels
    )
    return first, second


def _sample_categories(sample: Sample, protocol: Protocol) -> dict[str, list[bool]]:
    questions = sample.evidence["questions"]
    crops = range(NUM_CROPS)
    return category_answers(
        [question["tuple"] for question in questions],
        [[question["p_yes"][crop] > THRESHOLD for question in questions] for crop in crops],
        [[question["answers"][crop] for question in questions] for crop in crops],
        protocol,
    )


def _sample(item: Item, state: State, score: ItemScore, answers: CropAnswers, seed: int) -> Sample:
    known = [_known(crop) for crop in answers]
    ruled = score.answers or [[None] * len(item.questions)] * NUM_CROPS
    questions = [
        {
            "number": question.number,
            "question": question.text,
            "tuple": question.label,
            "parents": list(question.parents),
            "p_yes": [crop.get(question.number) for crop in known],
            "answers": [values[index] for values in ruled],
        }
        for index, question in enumerate(item.questions)
    ]
    scores = {f"picture {crop}": points for crop, points in enumerate(score.crop_scores)}
    return Sample(
        sample_id=item.item_id,
        part="",
        state=state,
        score=score.score,
        reason=score.reason,
        prompt=item.text,
        caption="",
        seed=item_seed(seed, item.item_id),
        images={} if state == "missing" else {"grid": grid_path(item)},
        evidence={"questions": questions, "scores": scores},
    )


def _known(answers: Mapping[int, float | JudgeError]) -> dict[int, float]:
    return {n: p for n, p in answers.items() if not isinstance(p, JudgeError)}
