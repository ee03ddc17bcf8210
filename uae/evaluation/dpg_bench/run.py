"""DPG-Bench: dense prompts, each with a graph of yes/no questions about the generated pictures.

Four pictures of a prompt stand in a 2 x 2 grid, one file for each prompt, as the published script
reads them. A judge answers every question about every picture; the rules are in `rules`. Scores of
different judges or protocols are not comparable, so both are stamped into the result, and the judge
must pass a self-test on pictures with known answers first.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from uae.evaluation.benchmark_scenes import load_benchmark_scenes
from uae.evaluation.bootstrap import bootstrap_interval
from uae.evaluation.context import Context
from uae.evaluation.dpg_bench.grids import (
    BENCHMARK,
    NUM_CROPS,
    check_grids,
    paint_grids,
    places,
    read_grids,
)
from uae.evaluation.dpg_bench.judging import ask, check_on_photographs, check_on_scenes
from uae.evaluation.dpg_bench.prompts import (
    first_items,
    items_of,
    read_rows,
    rows_sha256,
    scene_rows,
    write_rows,
)
from uae.evaluation.dpg_bench.rules import Item
from uae.evaluation.dpg_bench.samples import category_parts, judged_sample, missing_sample
from uae.evaluation.journal import Journal, Unfinished
from uae.evaluation.judges.base import YesNoJudge
from uae.evaluation.judges.loading import load_yes_no_judge
from uae.evaluation.pictures import Pixels
from uae.evaluation.prompt_files import read_prompt_file
from uae.evaluation.results import (
    PromptSet,
    Result,
    Sample,
    count_states,
    write_results,
)
from uae.evaluation.scoring import Score, score_or_bounds
from uae.evaluation.systems.base import System
from uae.evaluation.systems.requirements import require
from uae.recipe import DpgBenchRecipe
from uae.seeds import derive_seed

PROTOCOL = "dpg-bench"
VERSION = 2
SELF_TEST_SCENES = 64  # at least, where there are as many: some kinds of question are rare


def run(settings: DpgBenchRecipe, context: Context, system: System, out: Path) -> Result:
    """Judge a system.

    Args:
        settings: Which prompts, how many, by which protocol, and who judges.
        context: Seed, batch size, and where weights and data are.
        system: Must paint pictures.
        out: Receives results.json, samples.parquet, images/<item_id>.png, and prompts.csv where the
            prompts are made from scenes.

    Returns:
        The content of results.json. Scores are shares, 0 to 1; parts are the level-1 categories,
        metrics level_2/<category>.

    Raises:
        EvaluationError: If the prompts, the system or the judge are refused.
        ModelError: If the model or the judge cannot be loaded.
        Unfinished: If other shards still have work to do.
    """

    def load() -> YesNoJudge:
        return load_yes_no_judge(settings.judge, context.weights, context.device)

    return evaluate(settings, context, system, load, out)


def evaluate(
    settings: DpgBenchRecipe,
    context: Context,
    system: System,
    load_judge: Callable[[], YesNoJudge],
    out: Path,
) -> Result:
    """Judge a system by any judge, which is loaded once prompts and system have been checked.

    `settings.judge.kind` still says which pictures the judge is tested on; else as `run`.
    """
    items, prompts = _read_prompts(settings, context, out)
    require(system, BENCHMARK, pictures=True, places=[p for item in items for p in places(item)])
    judge = load_judge()
    decides: dict[str, Any] = {
        "benchmark": BENCHMARK,
        "protocol": f"{PROTOCOL}/{settings.protocol}",
        "version": VERSION,
        "prompts": prompts.model_dump(exclude={"source"}),
        "system": system.identity,
        "generation": system.settings,
        "judges": {"vqa": judge.identity},
        "settings": _stamped(settings, context),
    }
    journal = Journal.open(out, decides, context.shard, retry_failures=context.retry_failures)
    if done := journal.result():
        return done
    check = journal.once("self_test", lambda: _self_test(settings, context, judge))
    samples = _samples(settings, context, system, judge, items, journal)
    stamped = decides | check | {"prompts": prompts, "key": journal.key}
    result = Result(**stamped, **summarise(settings, context, samples))
    write_results(out, result, samples)
    journal.close()
    return result


def _samples(
    settings: DpgBenchRecipe,
    context: Context,
    system: System,
    judge: YesNoJudge,
    items: Sequence[Item],
    journal: Journal,
) -> list[Sample]:
    """Paint and judge; the four pictures of an item share a batch, so that it fits in memory."""
    batch_size = max(1, context.judging.batch_size // NUM_CROPS)
    show = context.show_progress
    paint = partial(_paint, system, context.seed, journal.out)
    journal.map("pictures", items, paint, batch_size=batch_size, show=show)
    system.close()
    check_grids(items, journal.out)
    work = partial(_judge, settings, context, judge, journal.out)
    rows = journal.map("judged", items, work, batch_size=batch_size, after="pictures", show=show)
    if rows is None:
        raise Unfinished(f"{BENCHMARK}: other shards have not judged all their items")
    check_grids(items, journal.out)  # those of all shards
    return [Sample.model_validate(row) for row in rows]


def summarise(
    settings: DpgBenchRecipe, context: Context, samples: Sequence[Sample]
) -> dict[str, Any]:
    """Return the scores, as `Result` has them; items are what is drawn again for intervals.

    Under "official" items without a verdict are dropped from the mean, as in the published script;
    under "fixed" there are only bounds while one is missing.
    """
    resamples = context.judging.bootstrap_resamples
    seed = derive_seed(context.seed, PROTOCOL, "bootstrap")
    values = [sample.score for sample in samples]
    known = [value for value in values if value is not None]
    score = score_or_bounds(values, _mean)
    if settings.protocol == "official" and known:
        score = Score(_mean(known), None)
    whole = score.score is not None
    broad, detailed = category_parts(samples, settings.protocol, resamples, seed)
    return {
        "unit": "share",
        "score": score.score,
        "interval": bootstrap_interval(known, resamples, seed) if whole else None,
        "bounds": score.bounds,
        "num_samples": len(samples),
        "states": count_states(samples),
        "parts": broad,
        "metrics": {f"level_2/{category}": part for category, part in detailed.items()},
    }


def _read_prompts(
    settings: DpgBenchRecipe, context: Context, out: Path
) -> tuple[list[Item], PromptSet]:
    if settings.prompts == "scenes":
        scenes = load_benchmark_scenes(context.data)
        name, source = "scenes", scenes.source
        rows = scene_rows(scenes.scenes, settings.num_prompts or len(scenes.scenes))
        write_rows(rows, out / "prompts.csv")
    else:
        file = read_prompt_file(settings.prompts, endpoint=context.endpoint)
        name, source = PROTOCOL, file.source
        rows = read_rows(file.text, source=file.source)
    items = items_of(rows, settings.protocol, source=source)
    items = first_items(items, settings.num_prompts, source=source)
    prompts = PromptSet(name=name, source=source, sha256=rows_sha256(rows, items), count=len(items))
    return items, prompts


def _stamped(settings: DpgBenchRecipe, context: Context) -> dict[str, Any]:
    """Return what decides the numbers; paths and addresses are left to the hashes beside it."""
    judge = settings.judge.model_dump(mode="json", exclude={"path", "server"})
    return {
        "protocol": settings.protocol,
        "num_prompts": settings.num_prompts,
        "judge": judge,
        **context.deciding,
    }


def _self_test(settings: DpgBenchRecipe, context: Context, judge: YesNoJudge) -> dict[str, Any]:
    batch_size = context.judging.batch_size
    if settings.judge.kind == "starter":  # it has only ever seen drawings
        count = max(settings.num_prompts or 0, SELF_TEST_SCENES)
        scenes = [facts for _, facts in load_benchmark_scenes(context.data).scenes[:count]]
        check = check_on_scenes(judge, scenes, seed=context.seed, batch_size=batch_size)
    else:
        check = check_on_photographs(judge, batch_size=batch_size)
    check.require(context.judging.min_self_test_accuracy)
    return {"self_test": check.to_json(), "classification": {"self_test": check.classification()}}


def _paint(
    system: System, seed: int, out: Path, items: Sequence[Item], _: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    return paint_grids(system, items, seed, out)


def _judge(
    settings: DpgBenchRecipe,
    context: Context,
    judge: YesNoJudge,
    out: Path,
    items: Sequence[Item],
    painted: list[dict[str, Any]],
) -> list[dict[str, Any]]:
    """Ask every question about every picture of a batch; return a sample's row for each item."""
    grids = read_grids(painted, out)
    crops: list[Pixels] = []
    asked: list[tuple[int, int, str]] = []  # crop, number of the question, its text
    for item, grid in zip(items, grids, strict=True):
        for picture in grid if not isinstance(grid, str) else ():
            asked += [(len(crops), question.number, question.text) for question in item.questions]
            crops.append(picture)
    answers = ask(
        judge,
        crops,
        [text for _, _, text in asked],
        [crop for crop, _, _ in asked],
        batch_size=context.judging.batch_size,
    )
    per_crop: list[dict[int, Any]] = [{} for _ in crops]
    for (crop, number, _), answer in zip(asked, answers, strict=True):
        per_crop[crop][number] = answer
    left = iter(per_crop)
    samples = [
        missing_sample(item, grid, context.seed)
        if isinstance(grid, str)
        else judged_sample(item, [next(left) for _ in grid], settings.protocol, context.seed)
        for item, grid in zip(items, grids, strict=True)
    ]
    return [sample.model_dump() for sample in samples]


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
