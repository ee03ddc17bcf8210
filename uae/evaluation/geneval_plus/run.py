"""GenEval++: is everything that a prompt lists in the picture? A vision-language model says.

One picture for each prompt; the judge sees it with a checklist and answers 1 or 0. The score is the
mean of the tags' accuracies, as in the published script (github.com/yejy53/Echo-4o), which uses
GPT-4.1 at temperature 0: scores of other judges are not comparable with published ones, so judge
and instruction are stamped into the result. Where the published script counts a missing picture or
a failed judge as wrong, here the score stays open, between bounds; and nothing is rounded.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from uae.errors import EvaluationError
from uae.evaluation.bootstrap import group_mean_interval
from uae.evaluation.context import Context
from uae.evaluation.geneval_plus.checklist import checklist, instruction_identity, request
from uae.evaluation.geneval_plus.prompts import Prompt, read_prompts
from uae.evaluation.geneval_plus.self_test import self_test
from uae.evaluation.geneval_plus.verdicts import read_verdict
from uae.evaluation.journal import Journal, Row, Unfinished
from uae.evaluation.judges.base import ChatJudge, JudgeError
from uae.evaluation.judges.loading import load_chat_judge
from uae.evaluation.painting import image_path, paint, read_painted
from uae.evaluation.prompt_files import read_prompt_file
from uae.evaluation.results import PromptSet, Result, Sample, count_states, write_results
from uae.evaluation.scoring import mean_part, score_or_bounds
from uae.evaluation.systems.base import PictureRequest, System
from uae.evaluation.systems.requirements import require
from uae.fingerprints import json_sha256
from uae.recipe import GenevalPlusRecipe
from uae.seeds import derive_seed

BENCHMARK = "geneval_plus"
PROTOCOL = "geneval++"
VERSION = 1
_OF_THE_MACHINE = {"path", "server"}  # the judge's identity stands for them


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
    return evaluate(
        settings,
        context,
        system,
        out,
        lambda: load_chat_judge(settings.judge, context.weights, context.device),
    )


def evaluate(
    settings: GenevalPlusRecipe,
    context: Context,
    system: System,
    out: Path,
    load_judge: Callable[[], ChatJudge],
) -> Result:
    """Do `run` with any judge, loaded once prompts and system are known to be right."""
    prompts, source = load_prompts(settings, context)
    requests = picture_requests(prompts, context.seed)
    require(system, BENCHMARK, pictures=True, places=[asked.place for asked in requests])
    judge = load_judge()
    stamp = _stamp(settings, context, system, judge, prompts, source)
    journal = Journal.open(out, _decides(stamp), context.shard)
    if (done := journal.result()) is not None:
        return done
    minimum = context.judging.min_self_test_accuracy
    known = journal.once("self_test", lambda: self_test(judge, minimum, _batch(context)))
    show = context.show_progress

    def judge_batch(batch: Sequence[int], painted: list[Row]) -> list[Row]:
        return judge_pictures(judge, prompts, requests, batch, painted, out)

    journal.map(
        "pictures",
        range(len(prompts)),
        lambda batch, _: paint(system, [requests[index] for index in batch], out),
        batch_size=_batch(context),
        show=show,
    )
    system.close()
    rows = journal.map(
        "judged",
        range(len(prompts)),
        judge_batch,
        batch_size=_batch(context),
        after="pictures",
        show=show,
    )
    if rows is None:
        raise Unfinished(f"{BENCHMARK}: other shards have work")
    samples = [Sample.model_validate(row) for row in rows]
    result = write_results(
        out, Result(**stamp, **known, **summarise(samples, context), key=journal.key), samples
    )
    journal.close()
    return result


def load_prompts(settings: GenevalPlusRecipe, context: Context) -> tuple[list[Prompt], str]:
    """Return the prompts that are asked for, and where they came from.

    Raises:
        EvaluationError: If the file is wrong, or holds fewer prompts than asked for.
    """
    content = read_prompt_file(settings.prompts, endpoint=context.endpoint)
    prompts = read_prompts(content.text, content.source)
    if settings.num_prompts is not None and settings.num_prompts > len(prompts):
        raise EvaluationError(
            f"num_prompts is {settings.num_prompts}, {content.source} holds {len(prompts)}: give "
            f"at most as many, or null for all"
        )
    return prompts[: settings.num_prompts], content.source


def picture_requests(prompts: Sequence[Prompt], seed: int) -> list[PictureRequest]:
    """Return what the system is asked for: one picture for each prompt."""
    return [
        PictureRequest(
            prompt.text, derive_seed(seed, PROTOCOL, number), f"{BENCHMARK}/{number}.png"
        )
        for number, prompt in enumerate(prompts, start=1)
    ]


def judge_pictures(
    judge: ChatJudge,
    prompts: Sequence[Prompt],
    requests: Sequence[PictureRequest],
    batch: Sequence[int],
    painted: list[Row],
    out: Path,
) -> list[Row]:
    """Judge one batch: `batch` are indices of prompts, `painted` the rows of their pictures."""
    pictures = read_painted(painted, out)
    asked = [
        request(prompts[index], picture)
        for index, picture in zip(batch, pictures, strict=True)
        if picture is not None
    ]
    replies = iter(judge.answer(asked) if asked else [])
    rows = []
    for index, row in zip(batch, painted, strict=True):
        found = _missing(row) if row["state"] == "missing" else _judged(next(replies))
        rows.append(_sample(index, prompts[index], requests[index], found))
    return rows


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


def _sample(index: int, prompt: Prompt, asked: PictureRequest, found: Row) -> Row:
    sample = Sample(
        sample_id=str(index + 1),
        part=prompt.tag,
        state=found["state"],
        score=found["score"],
        reason=found["reason"],
        prompt=prompt.text,
        caption="",
        seed=asked.seed,
        images={} if found["state"] == "missing" else {"generated": image_path(asked.place)},
        evidence={"reply": found["reply"], "metadata": prompt.to_json()},
        checklist=checklist(prompt),  # type: ignore[call-arg]  # a column of our own
    )
    return sample.model_dump()


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


def _batch(context: Context) -> int:
    return context.judging.batch_size


def _stamp(
    settings: GenevalPlusRecipe,
    context: Context,
    system: System,
    judge: ChatJudge,
    prompts: Sequence[Prompt],
    source: str,
) -> dict[str, Any]:
    """Return all of a result that is known before anything is painted."""
    judging = context.judging
    return {
        "benchmark": BENCHMARK,
        "protocol": PROTOCOL,
        "version": VERSION,
        "unit": "share",
        "prompts": PromptSet(
            name=BENCHMARK,
            source=source,
            sha256=json_sha256([prompt.to_json() for prompt in prompts]),
            count=len(prompts),
        ),
        "system": system.identity,
        "generation": system.settings,
        "judges": {"checklist": judge.identity | instruction_identity()},
        "settings": {
            "num_prompts": settings.num_prompts,
            "judge": settings.judge.model_dump(mode="json", exclude=_OF_THE_MACHINE),
            "seed": context.seed,
            "batch_size": judging.batch_size,
            "bootstrap_resamples": judging.bootstrap_resamples,
            "min_self_test_accuracy": judging.min_self_test_accuracy,
        },
    }


def _decides(stamp: dict[str, Any]) -> dict[str, Any]:
    return stamp | {"prompts": stamp["prompts"].model_dump(exclude={"source"})}
