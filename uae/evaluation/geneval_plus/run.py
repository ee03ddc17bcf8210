"""GenEval++: is everything that a prompt lists in the picture? A vision-language model says.

One picture for each prompt; the judge sees it with a checklist and answers 1 or 0. The score is the
mean of the tags' accuracies, as in the published script (github.com/yejy53/Echo-4o), which uses
GPT-4.1 at temperature 0: scores of other judges are not comparable with published ones, so judge
and instruction are stamped into the result. Where the published script counts a missing picture or
a failed judge as wrong, here the score stays open, between bounds; and nothing is rounded.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from uae.evaluation import one_picture
from uae.evaluation.bootstrap import group_mean_interval
from uae.evaluation.context import Context
from uae.evaluation.geneval_plus.checklist import checklist, instruction_identity, request
from uae.evaluation.geneval_plus.prompts import Prompt, read_prompts
from uae.evaluation.geneval_plus.self_test import self_test
from uae.evaluation.geneval_plus.verdicts import read_verdict
from uae.evaluation.journal import Row
from uae.evaluation.judges.base import ChatJudge, JudgeError
from uae.evaluation.painting import image_path, read_painted
from uae.evaluation.results import Result, Sample, count_states
from uae.evaluation.scoring import mean_part, score_or_bounds
from uae.evaluation.systems.base import System
from uae.recipe import GenevalPlusRecipe
from uae.seeds import derive_seed

PROTOCOL = "geneval++"
VERSION = 1
Task = one_picture.Task[Prompt]


def run(settings: GenevalPlusRecipe, context: Context, system: System, out: Path) -> Result:
    """Judge a system.

    Args:
        settings: Prompt file, how many of its prompts, and the judge.
        context: Seed, batch size and folders.
        system: Paints.
        out: Receives results.json, samples.parquet and images/<id>.png, ids from 1 as published.

    Raises:
        EvaluationError: If the system does not paint, a prompt is wrong, or the judge fails on
            known pictures.
        ModelError: If the judge cannot be loaded.
        Unfinished: While other shards have work.
    """
    return one_picture.run(GENEVAL_PLUS, settings, context, system, out)


def judge_pictures(
    judge: ChatJudge, batch: Sequence[Task], painted: list[Row], out: Path, _: int
) -> list[Sample]:
    """Judge one batch; `painted` are the rows of its pictures."""
    pictures = read_painted(painted, out)
    asked = [
        request(task.prompt, picture)
        for task, picture in zip(batch, pictures, strict=True)
        if picture is not None
    ]
    replies = iter(judge.answer(asked) if asked else [])
    return [
        _sample(task, _missing(row) if row["state"] == "missing" else _judged(next(replies)))
        for task, row in zip(batch, painted, strict=True)
    ]


def _missing(row: Row) -> Row:
    return {"state": "missing", "score": None, "reason": row["reason"], "reply": ""}


def _judged(reply: str | JudgeError) -> Row:
    verdict = reply if isinstance(reply, JudgeError) else read_verdict(reply)
    shown = "" if isinstance(reply, JudgeError) else reply
    if isinstance(verdict, JudgeError):
        return {"state": "judge_error", "score": None, "reason": verdict.reason, "reply": shown}
    if verdict.correct:
        return {"state": "scored", "score": 1.0, "reason": "", "reply": shown}
    reason = verdict.reason or "the judge gives no reason"
    return {"state": "wrong", "score": 0.0, "reason": reason, "reply": shown}


def _sample(task: Task, found: Row) -> Sample:
    missing = found["state"] == "missing"
    return Sample(
        sample_id=task.sample_id,
        part=task.prompt.tag,
        state=found["state"],
        score=found["score"],
        reason=found["reason"],
        prompt=task.prompt.text,
        caption="",
        seed=task.request.seed,
        images={} if missing else {"generated": image_path(task.request.place)},
        evidence={"reply": found["reply"], "metadata": task.prompt.to_json()},
        checklist=checklist(task.prompt),  # type: ignore[call-arg]  # a column of our own
    )


def summarise(samples: Sequence[Sample], context: Context) -> dict[str, Any]:
    """Return score, intervals and parts; prompts are what is resampled."""
    tags = list(dict.fromkeys(sample.part for sample in samples))
    seed = derive_seed(context.seed, PROTOCOL, "bootstrap")
    resamples = context.judging.bootstrap_resamples
    values = [sample.score for sample in samples]

    def by_tag(scores: Sequence[Any]) -> list[list[Any]]:
        return [
            [score for score, sample in zip(scores, samples, strict=True) if sample.part == tag]
            for tag in tags
        ]

    score, bounds = score_or_bounds(
        values, lambda scores: float(np.mean([np.mean(group) for group in by_tag(scores)]))
    )
    groups = by_tag(values)
    return {
        "score": score,
        "interval": None if score is None else group_mean_interval(groups, resamples, seed),
        "bounds": bounds,
        "num_samples": len(samples),
        "states": count_states(samples),
        "parts": {
            tag: mean_part(group, resamples, seed) for tag, group in zip(tags, groups, strict=True)
        },
        "metrics": {"correct_images": mean_part(values, resamples, seed)},
    }


GENEVAL_PLUS: one_picture.Benchmark[Prompt, ChatJudge] = one_picture.Benchmark(
    name="geneval_plus",
    protocol=PROTOCOL,
    version=VERSION,
    first_id=1,
    role="checklist",
    asked=instruction_identity(),
    read_prompts=read_prompts,
    self_test=self_test,
    judge=judge_pictures,
    summarise=summarise,
)
