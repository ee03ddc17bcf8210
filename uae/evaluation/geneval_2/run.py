"""GenEval 2: how probable are the right answers to questions about the picture? (Soft-TIFA)

One picture for each prompt. The score is Soft-TIFA GM; AM and the skills are among the metrics, the
parts are the atomicities. The published scripts (github.com/facebookresearch/GenEval2) ask
Qwen3-VL-8B-Instruct: scores of other judges are not comparable with published ones, so the judge is
stamped into the result. Differences: an unanswered question makes the sample a "judge_error" and a
missing picture leaves the score open between bounds, where the published script stops; a token that
begins several forms of an answer counts once (with Qwen's tokens none does).
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from uae.errors import EvaluationError
from uae.evaluation.context import Context
from uae.evaluation.geneval_2.answers import SUFFIX, AnswerJudge, ask, atom_question
from uae.evaluation.geneval_2.prompts import Prompt, read_prompts
from uae.evaluation.geneval_2.self_test import self_test
from uae.evaluation.geneval_2.soft_tifa import arithmetic_mean, geometric_mean, summarise
from uae.evaluation.journal import Journal, Row, Unfinished
from uae.evaluation.judges.base import JudgeError
from uae.evaluation.judges.loading import load_chat_judge
from uae.evaluation.painting import image_path, paint, read_painted
from uae.evaluation.prompt_files import read_prompt_file
from uae.evaluation.results import PromptSet, Result, Sample, write_results
from uae.evaluation.systems.base import PictureRequest, System
from uae.evaluation.systems.requirements import require
from uae.fingerprints import json_sha256
from uae.recipe import Geneval2Recipe
from uae.seeds import derive_seed

BENCHMARK = "geneval_2"
PROTOCOL = "geneval2/soft-tifa-gm"
VERSION = 1
_OF_THE_MACHINE = {"path", "server"}  # the judge's identity stands for them


def run(settings: Geneval2Recipe, context: Context, system: System, out: Path) -> Result:
    """Judge a system.

    Args:
        settings: Prompt file, how many of its prompts, and the judge.
        context: Seed, batch size and folders.
        system: Paints.
        out: Receives results.json, samples.parquet and images/<id>.png, ids from 0: the position
            in the prompt file.

    Raises:
        EvaluationError: If the system does not paint, a prompt is wrong, or the judge fails
            on known pictures.
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
    settings: Geneval2Recipe,
    context: Context,
    system: System,
    out: Path,
    load_judge: Callable[[], AnswerJudge],
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
    batch_size, minimum = context.judging.batch_size, context.judging.min_self_test_accuracy
    known = journal.once("self_test", lambda: self_test(judge, minimum, batch_size))

    def judge_batch(batch: Sequence[int], painted: list[Row]) -> list[Row]:
        answers = ask_all(judge, prompts, batch, painted, out, batch_size)
        return [
            _sample(index, prompts[index], requests[index], row, found)
            for index, row, found in zip(batch, painted, answers, strict=True)
        ]

    journal.map(
        "pictures",
        range(len(prompts)),
        lambda batch, _: paint(system, [requests[index] for index in batch], out),
        batch_size=batch_size,
        show=context.show_progress,
    )
    system.close()
    rows = journal.map(
        "judged",
        range(len(prompts)),
        judge_batch,
        batch_size=batch_size,
        after="pictures",
        show=context.show_progress,
    )
    if rows is None:
        raise Unfinished(f"{BENCHMARK}: other shards have work")
    samples = [Sample.model_validate(row) for row in rows]
    result = write_results(
        out,
        Result(**stamp, **known, **summarise(samples, PROTOCOL, context), key=journal.key),
        samples,
    )
    journal.close()
    return result


def load_prompts(settings: Geneval2Recipe, context: Context) -> tuple[list[Prompt], str]:
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
        for number, prompt in enumerate(prompts)
    ]


def ask_all(
    judge: AnswerJudge,
    prompts: Sequence[Prompt],
    batch: Sequence[int],
    painted: list[Row],
    out: Path,
    batch_size: int,
) -> list[list[float | JudgeError]]:
    """Return the probabilities of each prompt's right answers; none for a missing picture."""
    pictures = [picture for picture in read_painted(painted, out) if picture is not None]
    there = [
        prompts[index]
        for index, row in zip(batch, painted, strict=True)
        if row["state"] != "missing"
    ]
    questions = [
        atom_question(picture, atom)
        for picture, prompt in enumerate(there)
        for atom in prompt.atoms
    ]
    found = iter(ask(judge, pictures, questions, batch_size=batch_size))
    return [
        [] if row["state"] == "missing" else [next(found) for _ in prompts[index].atoms]
        for index, row in zip(batch, painted, strict=True)
    ]


def _sample(
    index: int, prompt: Prompt, asked: PictureRequest, row: Row, found: list[float | JudgeError]
) -> Row:
    missing = row["state"] == "missing"
    reasons = [
        f"{atom.question} {p.reason}"
        for atom, p in zip(prompt.atoms, found, strict=not missing)
        if isinstance(p, JudgeError)
    ]
    known = [p for p in found if not isinstance(p, JudgeError)]
    judged = not missing and not reasons
    sample = Sample(
        sample_id=str(index),
        part=str(prompt.atom_count),
        state="missing" if missing else "judge_error" if reasons else "scored",
        score=geometric_mean(known) if judged else None,
        reason=row["reason"] if missing else "; ".join(reasons),
        prompt=prompt.text,
        caption="",
        seed=asked.seed,
        images={} if missing else {"generated": image_path(asked.place)},
        evidence={"questions": _questions(prompt, found), "metadata": prompt.to_json()},
        soft_tifa_am=arithmetic_mean(known) if judged else None,  # type: ignore[call-arg]
    )
    return sample.model_dump()


def _questions(prompt: Prompt, found: list[float | JudgeError]) -> list[dict[str, Any]]:
    """Return the evidence; `p_yes` is the probability of the answer `expected`."""
    values = [None if isinstance(p, JudgeError) else p for p in found] or [None] * len(prompt.atoms)
    return [
        {
            "number": number,
            "question": atom.question,
            "tuple": atom.skill,
            "parents": [],
            "expected": atom.answer,
            "p_yes": [p],
            "answers": [None if p is None else p > 0.5],
        }
        for number, (atom, p) in enumerate(zip(prompt.atoms, values, strict=True), start=1)
    ]


def _stamp(
    settings: Geneval2Recipe,
    context: Context,
    system: System,
    judge: AnswerJudge,
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
        "judges": {"answers": judge.identity | {"asked": SUFFIX}},
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
