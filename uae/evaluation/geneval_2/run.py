"""GenEval 2: how probable are the right answers to questions about the picture? (Soft-TIFA)

One picture for each prompt. The score is Soft-TIFA GM; AM and the skills are among the metrics, the
parts are the atomicities. The published scripts (github.com/facebookresearch/GenEval2) ask
Qwen3-VL-8B-Instruct: scores of other judges are not comparable with published ones, so the judge is
stamped into the result. Differences: an unanswered question makes the sample a "judge_error" and a
missing picture leaves the score open between bounds, where the published script stops; a token that
begins several forms of an answer counts once (with Qwen's tokens none does).
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from uae.evaluation import one_picture
from uae.evaluation.context import Context
from uae.evaluation.geneval_2.answers import SUFFIX, AnswerJudge, ask, atom_question
from uae.evaluation.geneval_2.prompts import Prompt, read_prompts
from uae.evaluation.geneval_2.self_test import self_test
from uae.evaluation.geneval_2.soft_tifa import arithmetic_mean, geometric_mean, summarise
from uae.evaluation.journal import Row
from uae.evaluation.judges.base import JudgeError
from uae.evaluation.painting import image_path, read_painted
from uae.evaluation.results import Result, Sample
from uae.evaluation.systems.base import System
from uae.recipe import Geneval2Recipe

PROTOCOL = "geneval2/soft-tifa-gm"
VERSION = 1
Task = one_picture.Task[Prompt]


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
    return one_picture.run(GENEVAL_2, settings, context, system, out)


def judge_pictures(
    judge: AnswerJudge, batch: Sequence[Task], painted: list[Row], out: Path, batch_size: int
) -> list[Sample]:
    """Judge one batch; `painted` are the rows of its pictures."""
    answers = _ask_all(judge, batch, painted, out, batch_size)
    return [_sample(*values) for values in zip(batch, painted, answers, strict=True)]


def _ask_all(
    judge: AnswerJudge, batch: Sequence[Task], painted: list[Row], out: Path, batch_size: int
) -> list[list[float | JudgeError]]:
    """Return the probabilities of each prompt's right answers; none for a missing picture."""
    pictures = read_painted(painted, out)
    there = [picture for picture in pictures if picture is not None]
    prompts = [
        task.prompt for task, picture in zip(batch, pictures, strict=True) if picture is not None
    ]
    questions = [
        atom_question(number, atom)
        for number, prompt in enumerate(prompts)
        for atom in prompt.atoms
    ]
    found = iter(ask(judge, there, questions, batch_size=batch_size))
    return [
        [] if picture is None else [next(found) for _ in task.prompt.atoms]
        for task, picture in zip(batch, pictures, strict=True)
    ]


def _sample(task: Task, row: Row, found: list[float | JudgeError]) -> Sample:
    prompt = task.prompt
    missing = row["state"] == "missing"
    reasons = [
        f"{atom.question} {p.reason}"
        for atom, p in zip(prompt.atoms, found, strict=not missing)
        if isinstance(p, JudgeError)
    ]
    known = [p for p in found if not isinstance(p, JudgeError)]
    judged = not missing and not reasons
    return Sample(
        sample_id=task.sample_id,
        part=str(prompt.atom_count),
        state="missing" if missing else "judge_error" if reasons else "scored",
        score=geometric_mean(known) if judged else None,
        reason=row["reason"] if missing else "; ".join(reasons),
        prompt=prompt.text,
        caption="",
        seed=task.request.seed,
        images={} if missing else {"generated": image_path(task.request.place)},
        evidence={"questions": _questions(prompt, found), "metadata": prompt.to_json()},
        soft_tifa_am=arithmetic_mean(known) if judged else None,  # type: ignore[call-arg]
    )


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


GENEVAL_2: one_picture.Benchmark[Prompt, AnswerJudge] = one_picture.Benchmark(
    name="geneval_2",
    protocol=PROTOCOL,
    version=VERSION,
    first_id=0,
    role="answers",
    asked={"asked": SUFFIX},
    read_prompts=read_prompts,
    self_test=self_test,
    judge=judge_pictures,
    summarise=partial(summarise, protocol=PROTOCOL),
)
