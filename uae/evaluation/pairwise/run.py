"""Pairwise judging of captions, the second protocol of Unified-Bench: which describes it better?

Every judge sees both captions of a picture in both orders. A system wins a picture if both orders
say so; everything else is a tie. Score: (wins of A + ties / 2) / pictures, and the mean over the
judges. How often the two orders agree is reported beside it, because a judge that prefers what
stands first shows up there. A judge must first prefer true captions of known photographs.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from uae.evaluation.journal import WHOLE, Journal, Shard, Unfinished
from uae.evaluation.judges.base import ChatJudge, ChatRequest
from uae.evaluation.judges.loading import load_chat_judge
from uae.evaluation.known_pictures import known_photographs
from uae.evaluation.pairwise.captions import Pair, Pairs, copy_original, read_pairs
from uae.evaluation.pairwise.summary import pair_sample, summarise
from uae.evaluation.pairwise.verdicts import (
    INSTRUCTION_SHA256,
    ORDERS,
    Verdict,
    question,
    read_verdict,
)
from uae.evaluation.pictures import Pixels, read_png
from uae.evaluation.results import PromptSet, Result, Sample, write_results
from uae.evaluation.self_test import SelfTest
from uae.fingerprints import json_sha256
from uae.recipe.pairwise import PairwiseRecipe
from uae.seeds import derive_seed
from uae.training.numerics import exact_numerics

BENCHMARK = "pairwise"
PROTOCOL = "pairwise-captions"
VERSION = 1


def judge_pairs(
    a: Path,
    b: Path,
    recipe: PairwiseRecipe,
    weights: Path,
    out: Path,
    *,
    shard: Shard = WHOLE,
    retry_failures: bool = False,
    show_progress: bool = True,
) -> Result:
    """Have judges compare the captions of two systems.

    Args:
        a: Result folder of Unified-Bench of one system.
        b: And of the other, on the same pictures.
        recipe: The judges; those on this machine are in memory together.
        weights: Folder in which judges' names are looked up.
        out: Receives results.json, samples.parquet and the pictures; an interrupted comparison is
            gone on with.
        shard: Which batches this process works on.
        retry_failures: Whether pictures that a judge could not judge are asked about again.
        show_progress: Whether a progress bar is drawn.

    Returns:
        The content of results.json: shares, 0 to 1, of A's wins; parts are the judges.

    Raises:
        EvaluationError: If the results are not of the same pictures, or a judge fails its
            self-test.
        ModelError: If a judge cannot be loaded.
        Unfinished: If other shards still have work to do.
    """
    pairs = read_pairs(a, b, recipe.num_samples)
    with exact_numerics(recipe.num_threads) as device:
        judges = {
            name: load_chat_judge(judge, weights, device) for name, judge in recipe.judges.items()
        }
        return compare(
            pairs,
            recipe,
            judges,
            out,
            shard=shard,
            retry_failures=retry_failures,
            show_progress=show_progress,
        )


def compare(
    pairs: Pairs,
    recipe: PairwiseRecipe,
    judges: Mapping[str, ChatJudge],
    out: Path,
    *,
    shard: Shard = WHOLE,
    retry_failures: bool = False,
    show_progress: bool = True,
) -> Result:
    """Have loaded judges compare captions; else as `judge_pairs`."""
    asked = pairs.a.prompts
    ids = [pair.sample_id for pair in pairs.pairs]
    prompts = PromptSet(
        name=asked.name,
        source=asked.source,
        sha256=json_sha256([asked.sha256, ids]),
        count=len(ids),
    )
    decides: dict[str, Any] = {
        "benchmark": BENCHMARK,
        "protocol": PROTOCOL,
        "version": VERSION,
        "prompts": prompts.model_dump(exclude={"source"}),
        "system": pairs.system,
        "generation": {"a": pairs.a.generation, "b": pairs.b.generation},
        "judges": {
            name: judge.identity | {"question": INSTRUCTION_SHA256}
            for name, judge in judges.items()
        },
        "settings": _stamped(recipe),
    }
    journal = Journal.open(out, decides, shard, retry_failures=retry_failures)
    if done := journal.result():
        return done
    check = journal.once("self_test", lambda: _self_test(recipe, judges))
    work = partial(_judge, recipe, judges, out)
    size = recipe.batch_size
    rows = journal.map("judged", pairs.pairs, work, batch_size=size, show=show_progress)
    if rows is None:
        raise Unfinished(f"{BENCHMARK}: other shards have not judged all their pictures")
    samples = [Sample.model_validate(row) for row in rows]
    seed = derive_seed(recipe.seed, PROTOCOL, "bootstrap")
    scores = summarise(samples, [*judges], resamples=recipe.bootstrap_resamples, seed=seed)
    stamped = decides | check | scores | {"prompts": prompts, "key": journal.key}
    result = write_results(out, Result(**stamped), samples)
    journal.close()
    return result


def self_test(judges: Mapping[str, ChatJudge], *, batch_size: int) -> SelfTest:
    """Show every judge a true and a wrong caption of known photographs, in both orders.

    The groups are the judges; "yes" cases have the true caption first. No verdict, or a tie, is a
    wrong answer.
    """
    known = known_photographs()
    captions = [(photograph.caption, photograph.wrong_caption) for photograph in known]
    pictures = [photograph.picture for photograph in known]
    verdicts = [
        verdict
        for start in range(0, len(known), batch_size)
        for of_picture in _verdicts(
            judges, pictures[start : start + batch_size], captions[start : start + batch_size]
        )
        for verdict in of_picture
    ]
    failures = [f"{v.judge}: {v.failure}" for v in verdicts if v.choice is None]
    failed = f" ({len(failures)} failed: {failures[0]})" if failures else ""
    check = SelfTest(f"the judges' verdicts{failed}")
    for verdict in verdicts:
        true_first = verdict.order == "ab"
        check.add(
            verdict.judge, expected=true_first, answered=true_first == (verdict.choice == "a")
        )
    return check


def _self_test(recipe: PairwiseRecipe, judges: Mapping[str, ChatJudge]) -> dict[str, Any]:
    check = self_test(judges, batch_size=recipe.batch_size)
    check.require(recipe.min_self_test_accuracy)
    return {"self_test": check.to_json(), "classification": {"self_test": check.classification()}}


def _stamped(recipe: PairwiseRecipe) -> dict[str, Any]:
    """Return what decides the numbers; paths and addresses are left to the judges' identities."""
    settings = recipe.model_dump(mode="json", exclude={"name", "judges"})
    judges = {
        name: judge.model_dump(mode="json", exclude={"path", "server"})
        for name, judge in recipe.judges.items()
    }
    return settings | {"judges": judges}


def _judge(
    recipe: PairwiseRecipe,
    judges: Mapping[str, ChatJudge],
    out: Path,
    pairs: Sequence[Pair],
    _: list[dict[str, Any]],
) -> list[dict[str, Any]]:
    """Ask every judge about a batch of pictures in both orders; return a sample's row for each."""
    there = [pair for pair in pairs if not pair.missing]
    with ThreadPoolExecutor() as pool:
        pictures = list(pool.map(read_png, [pair.original for pair in there]))
        list(pool.map(partial(copy_original, out=out), pairs))
    found = iter(_verdicts(judges, pictures, [pair.captions for pair in there]))
    samples = [
        pair_sample(pair, [] if pair.missing else next(found), recipe.seed) for pair in pairs
    ]
    return [sample.model_dump() for sample in samples]


def _verdicts(
    judges: Mapping[str, ChatJudge],
    pictures: Sequence[Pixels],
    captions: Sequence[tuple[str, str]],
) -> list[list[Verdict]]:
    """Return, for each picture, the verdicts of every judge in every order."""
    found: list[list[Verdict]] = [[] for _ in pictures]
    for name, judge in judges.items():
        for order in ORDERS:
            requests = [
                ChatRequest((picture,), question(pair, order))
                for picture, pair in zip(pictures, captions, strict=True)
            ]
            replies = judge.answer(requests) if requests else []
            for of_picture, reply in zip(found, replies, strict=True):
                of_picture.append(read_verdict(name, order, reply))
    return found
