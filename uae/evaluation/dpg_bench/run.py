"""DPG-Bench: dense prompts, each with a graph of yes/no questions about the generated pictures.

Four pictures of a prompt stand in a 2 x 2 grid, one file for each prompt, as the published script
reads them. A judge answers every question about every picture; the rules are in `dpg_rules`. Scores
of different judges or protocols are not comparable, so both are stamped into the result, and the
judge must pass a self-test on pictures with known answers first.
"""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from uae.data.facts import SceneFacts
from uae.errors import EvaluationError
from uae.evaluation.benchmark_scenes import load_benchmark_scenes, scene_picture
from uae.evaluation.bootstrap import bootstrap_interval
from uae.evaluation.claims import CATEGORIES, Claim, false_claims, true_claims
from uae.evaluation.dpg_bench.prompts import scene_items, write_items
from uae.evaluation.dpg_bench.rules import (
    Item,
    ItemScore,
    category_scores,
    lose_first_question,
    score_item,
)
from uae.evaluation.judges.starter import Judge, StarterJudge
from uae.evaluation.pictures import Pixels, cut_grid, make_grid, read_png, write_png
from uae.evaluation.results import generation_settings, write_results
from uae.evaluation.self_test import SelfTest
from uae.evaluation.systems.bundle import BundleSystem, System, paint_pictures
from uae.fingerprints import file_sha256
from uae.models.bundle import weights_root
from uae.recipe import Recipe
from uae.seeds import derive_seed
from uae.training.numerics import exact_numerics

PROTOCOL = "dpg-bench"
VERSION = 1
NUM_CROPS = 4
SELF_TEST_SCENES = 64  # at least, where there are as many: some kinds of question are rare


def evaluate(recipe: Recipe, data: Path, model: Path, out: Path) -> dict[str, Any]:
    """Judge a model bundle on prompts made from benchmark scenes.

    Args:
        recipe: `evaluation` says how many prompts and which protocol.
        data: Folder that `validate_data` wrote; its benchmark split is used, else the shipped one.
        model: Model bundle.
        out: Receives results.json, samples.parquet, prompts.csv and images/<item_id>.png.

    Returns:
        The content of results.json; scores are shares, 0 to 1, `tasks` the level-1 categories.

    Raises:
        EvaluationError: If there are too few scenes, or the self-test fails.
        ModelError: If the model or the judge cannot be loaded.
    """
    settings = recipe.evaluation
    benchmark = load_benchmark_scenes(data)
    items = scene_items(benchmark.scenes, settings.dpg_prompts)
    num_known = max(settings.dpg_prompts, SELF_TEST_SCENES)
    scenes = [facts for _, facts in benchmark.scenes[:num_known]]
    with exact_numerics(recipe.models) as device:
        judge = StarterJudge.load(weights_root(recipe.models.base) / "judge", device=device)
        check = self_test(judge, scenes, seed=recipe.seed, batch_size=settings.batch_size)
        check.require(settings.min_self_test_accuracy)
        write_items(items, out / "prompts.csv")
        system = BundleSystem.load(model, settings, device=device)
        paint_grids(recipe, system, items, out / "images")
        scored = score_folder(recipe, items, judge, out)
    extra = {
        "prompts": {
            "source": benchmark.source,
            "sha256": file_sha256(out / "prompts.csv"),
            "count": len(items),
        },
        "system": system.identity,
        "self_test": check.to_json(),
        "classification": {"self_test": check.classification()},
    }
    return write_results(out, scored.results | extra, scored.samples)


def self_test(
    judge: Judge, scenes: Sequence[SceneFacts], *, seed: int, batch_size: int
) -> SelfTest:
    """Ask every true claim about each scene, and as many false ones; compare with the truth."""
    rng = random.Random(derive_seed(seed, PROTOCOL, "self-test"))
    cases: list[tuple[int, Claim, bool]] = []
    for index, facts in enumerate(scenes):
        cases += [(index, claim, True) for claim in true_claims(facts)]
        cases += [(index, claim, False) for claim in false_claims(facts, rng)]
    answers = ask(
        judge,
        [scene_picture(facts) for facts in scenes],
        [claim.question for _, claim, _ in cases],
        [index for index, _, _ in cases],
        batch_size=batch_size,
    )
    test = SelfTest("the judge's answers")
    for (_, claim, expected), p_yes in zip(cases, answers, strict=True):
        test.add(CATEGORIES[claim.kind], expected=expected, answered=p_yes > 0.5, p_yes=p_yes)
    return test


def ask(
    judge: Judge,
    pictures: Sequence[Pixels],
    questions: Sequence[str],
    picture_of: Sequence[int],
    *,
    batch_size: int,
) -> list[float]:
    """Return p(yes) of each question, asking `batch_size` at a time; `picture_of` must not fall.

    Raises:
        EvaluationError: If a probability is not finite: that is never a "no".
    """
    answers: list[float] = []
    for start in range(0, len(questions), batch_size):
        part = slice(start, start + batch_size)
        needed = sorted(set(picture_of[part]))
        place = {picture: position for position, picture in enumerate(needed)}
        p_yes = judge.probabilities(
            [pictures[picture] for picture in needed],
            questions[part],
            [place[picture] for picture in picture_of[part]],
        )
        answers += p_yes.tolist()
    if not np.isfinite(answers).all():
        raise EvaluationError("the judge's probabilities hold NaN: its weights are broken")
    return answers


def paint_grids(recipe: Recipe, system: System, items: Sequence[Item], folder: Path) -> None:
    """Paint four pictures for each item into one grid, `<item_id>.png`."""
    texts = [item.text for item in items for _ in range(NUM_CROPS)]
    seeds = [
        derive_seed(recipe.seed, PROTOCOL, item.item_id, crop)
        for item in items
        for crop in range(NUM_CROPS)
    ]
    pictures = paint_pictures(system, texts, seeds, batch_size=recipe.evaluation.batch_size)
    for index, item in enumerate(items):
        crops = pictures[NUM_CROPS * index : NUM_CROPS * (index + 1)]
        write_png(make_grid(crops), folder / f"{item.item_id}.png")


class Scored(NamedTuple):
    """Scores and the rows that they are computed from."""

    results: dict[str, Any]
    samples: list[dict[str, Any]]


def score_folder(recipe: Recipe, items: Sequence[Item], judge: Judge, out: Path) -> Scored:
    """Score the grids in `out/images` by the recipe's protocol.

    Under "official" an item whose grid is missing or broken is dropped from the mean, and its state
    says so; under "fixed" it is an error.

    Raises:
        EvaluationError: If a grid is missing or broken ("fixed"), or no item is left.
    """
    protocol = recipe.evaluation.dpg_protocol
    items = lose_first_question(items) if protocol == "official" else list(items)
    grids, broken = _read_grids(items, out / "images")
    if broken and protocol == "fixed":
        raise EvaluationError(
            f"{len(broken)} items cannot be scored: " + "; ".join(broken.values())
        )
    readable = [item for item in items if item.item_id in grids]
    p_yes = _ask_all(judge, readable, grids, batch_size=recipe.evaluation.batch_size)
    scores = [
        score_item(
            item, [{n: p > 0.5 for n, p in crop.items()} for crop in p_yes[item.item_id]], protocol
        )
        for item in readable
    ]
    scores += [ItemScore(item_id, None, reason=reason) for item_id, reason in broken.items()]
    results = summarise(recipe, scores) | {"judges": {"vqa": judge.identity}}
    return Scored(results, _sample_rows(items, scores, p_yes))


def summarise(recipe: Recipe, scores: Sequence[ItemScore]) -> dict[str, Any]:
    """Return the scores; items are what is resampled.

    Raises:
        EvaluationError: If no item has a score.
    """
    values = [score.score for score in scores if score.score is not None]
    if not values:
        raise EvaluationError(f"no item could be scored: {[score.reason for score in scores][:5]}")
    levels = category_scores(scores)
    seed = derive_seed(recipe.seed, PROTOCOL, "bootstrap")
    return {
        "protocol": f"{PROTOCOL}/{recipe.evaluation.dpg_protocol}",
        "version": VERSION,
        "score": float(np.mean(values)),
        "interval": bootstrap_interval(values, recipe.evaluation.bootstrap_resamples, seed),
        "tasks": levels["level_1"],
        "level_2": levels["level_2"],
        "states": {"scored": len(values), "dropped": len(scores) - len(values)},
        "num_samples": len(values),
        "settings": generation_settings(recipe),
    }


def _read_grids(
    items: Sequence[Item], folder: Path
) -> tuple[dict[str, list[Pixels]], dict[str, str]]:
    grids: dict[str, list[Pixels]] = {}
    broken: dict[str, str] = {}
    for item in items:
        path = folder / f"{item.item_id}.png"
        try:
            grids[item.item_id] = cut_grid(read_png(path), name=path.name)
        except EvaluationError as error:
            broken[item.item_id] = str(error)
    return grids, broken


def _ask_all(
    judge: Judge, items: Sequence[Item], grids: dict[str, list[Pixels]], *, batch_size: int
) -> dict[str, list[dict[int, float]]]:
    """Return item -> for each crop, question number -> p(yes)."""
    crops = [crop for item in items for crop in grids[item.item_id]]
    asked = [
        (NUM_CROPS * index + crop, question)
        for index, item in enumerate(items)
        for crop in range(NUM_CROPS)
        for question in item.questions
    ]
    answers = ask(
        judge,
        crops,
        [question.text for _, question in asked],
        [crop for crop, _ in asked],
        batch_size=batch_size,
    )
    per_crop: list[dict[int, float]] = [{} for _ in crops]
    for (crop, question), p_yes in zip(asked, answers, strict=True):
        per_crop[crop][question.number] = p_yes
    return {
        item.item_id: per_crop[NUM_CROPS * index : NUM_CROPS * (index + 1)]
        for index, item in enumerate(items)
    }


def _sample_rows(
    items: Sequence[Item],
    scores: Sequence[ItemScore],
    p_yes: dict[str, list[dict[int, float]]],
) -> list[dict[str, Any]]:
    score_of = {score.item_id: score for score in scores}
    rows = []
    for item in items:
        score = score_of[item.item_id]
        answers = p_yes.get(item.item_id, [])
        rows.append(
            {
                "item_id": item.item_id,
                "prompt": item.text,
                "image": f"images/{item.item_id}.png",
                "state": "scored" if score.score is not None else "dropped",
                "reason": score.reason,
                "score": score.score,
                "crop_scores": list(score.crop_scores),
                "questions": json.dumps(
                    [
                        {
                            "number": question.number,
                            "question": question.text,
                            "tuple": question.label,
                            "parents": question.parents,
                            "p_yes": [crop[question.number] for crop in answers],
                        }
                        for question in item.questions
                    ]
                ),
            }
        )
    return rows
