"""From GenEval's verdicts to its scores.

The score is the plain mean of the tasks' shares of correct pictures, as the published script
(github.com/djghosh13/geneval, summary_scores.py) has it. Intervals resample prompts: the pictures
of one are alike.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from uae.evaluation.bootstrap import Interval, group_mean_interval
from uae.evaluation.results import Part, Sample
from uae.evaluation.scoring import score_or_bounds


class Summary(NamedTuple):
    """The scores of a result; shares, 0 to 1."""

    score: float | None
    interval: Interval | None
    bounds: Interval | None
    parts: dict[str, Part]  # by task, in the order of the prompts
    metrics: dict[str, Part]


Verdicts = list[list[float | None]]  # for each prompt one of each picture: 1, 0, or none


def summarise(
    samples: Sequence[Sample], images_per_prompt: int, *, resamples: int, seed: int
) -> Summary:
    """Return the scores of samples that are ordered by prompt, then by picture."""
    scores = [sample.score for sample in samples]
    starts = range(0, len(samples), images_per_prompt)
    verdicts: Verdicts = [scores[start : start + images_per_prompt] for start in starts]
    tags = [samples[start].part for start in starts]
    tasks = list(dict.fromkeys(tags))
    of_task = {
        task: [row for row, tag in zip(verdicts, tags, strict=True) if tag == task]
        for task in tasks
    }
    sample_tags = [sample.part for sample in samples]
    score, bounds = score_or_bounds(scores, lambda values: _mean_of_tasks(values, sample_tags))
    per_prompt = [_prompt_means(of_task[task]) for task in tasks]
    return Summary(
        score,
        None if score is None else group_mean_interval(per_prompt, resamples, seed),
        bounds,
        {task: _share(of_task[task], resamples, seed) for task in tasks},
        {
            "correct_images": _share(verdicts, resamples, seed),
            "correct_prompts": _share([[_any(row)] for row in verdicts], resamples, seed),
        },
    )


def _mean_of_tasks(values: Sequence[float], tags: Sequence[str]) -> float:
    tasks: dict[str, list[float]] = {}
    for value, tag in zip(values, tags, strict=True):
        tasks.setdefault(tag, []).append(value)
    return float(np.mean([np.mean(of_task) for of_task in tasks.values()]))


def _share(verdicts: Verdicts, resamples: int, seed: int) -> Part:
    """Return the mean over all verdicts that are there, with an interval where all are."""
    known = [value for row in verdicts for value in row if value is not None]
    complete = len(known) == sum(map(len, verdicts))
    return Part(
        score=float(np.mean(known)) if known else None,
        interval=group_mean_interval([_prompt_means(verdicts)], resamples, seed)
        if complete
        else None,
        num_samples=len(known),
    )


def _prompt_means(verdicts: Verdicts) -> list[float]:
    """Return one mean for each prompt with a verdict; all have as many pictures."""
    known = [[value for value in row if value is not None] for row in verdicts]
    return [float(np.mean(row)) for row in known if row]


def _any(row: Sequence[float | None]) -> float | None:
    """Return whether one picture of a prompt is right; none where a missing one may decide it."""
    if 1.0 in row:
        return 1.0
    return None if None in row else 0.0
