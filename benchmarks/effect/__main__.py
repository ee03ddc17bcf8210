"""`make effect`: does the loop learn, and what does each stage contribute?

Trains every arm with every seed, judges the model after every stage on the same held-out scenes,
and writes paired differences with 95 % intervals. Finished pieces are kept and found again; after
an interruption the same command goes on.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.effect.arms import ARMS, FULL, Point, comparisons
from benchmarks.effect.differences import read_judged
from benchmarks.effect.pieces import Plan, estimate_seconds, make_plan, read_record
from benchmarks.effect.plot import draw
from benchmarks.effect.scenes import find_scenes, prepare_scenes
from benchmarks.effect.table import Effect, find_effect, write_json, write_markdown
from benchmarks.effect.workers import make_pieces
from uae.errors import UaeError
from uae.evaluation.results import check_comparable, read_result
from uae.recipe import Recipe
from uae.recipe_files import load_recipe

NUM_SCENES = 200  # fixed before the first run: all held-out scenes of the starter data
PLOT = "effect.png"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment; return the process's exit code."""
    options = _parser().parse_args(arguments)
    try:
        _run(options)
    except UaeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.effect", description=__doc__)
    parser.add_argument("--seeds", type=_seeds, default=(0, 1, 2), help="such as 0,1,2")
    parser.add_argument("--recipe", default="starter", help="name or .yaml file")
    parser.add_argument("--data", default="starter", help="data set, as for `uae run`")
    parser.add_argument(
        "--arms", type=_arms, default=tuple(ARMS), help=f"of {','.join(ARMS)}; full is always there"
    )
    parser.add_argument(
        "--scenes", type=_count, default=NUM_SCENES, help="held-out scenes that judge each model"
    )
    parser.add_argument(
        "--jobs", type=_count, help="pieces made at once; they share the recipe's threads, one each"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/effect"))
    parser.add_argument(
        "--dry-run", action="store_true", help="only say what would be made, and how long it takes"
    )
    return parser


def _seeds(text: str) -> tuple[int, ...]:
    seeds = tuple(dict.fromkeys(int(part) for part in text.split(",")))
    if min(seeds) < 0:
        raise argparse.ArgumentTypeError(f"seeds are 0 or more, got {text}")
    return seeds


def _count(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"1 or more, got {text}")
    return int(text)


def _arms(text: str) -> tuple[str, ...]:
    names = dict.fromkeys([FULL, *text.split(",")])
    if unknown := set(names) - set(ARMS):
        raise argparse.ArgumentTypeError(f"unknown arm {', '.join(unknown)}: of {', '.join(ARMS)}")
    return tuple(names)


def _run(options: argparse.Namespace) -> None:
    values = load_recipe(options.recipe).model_dump(mode="json")
    values["evaluation"]["unified_bench"]["num_samples"] = options.scenes
    jobs = options.jobs or values["models"]["num_threads"]
    values["models"]["num_threads"] = max(1, values["models"]["num_threads"] // jobs)
    recipe = Recipe.model_validate(values)
    scenes = find_scenes(recipe, options.data, options.out)
    plan = make_plan(recipe, scenes, options.seeds, options.arms)
    root = options.out / "pieces"
    _print_plan(plan, root, jobs)
    if options.dry_run:
        return
    prepare_scenes(recipe, options.data, scenes, options.scenes)
    make_pieces(plan, root, scenes, jobs)
    effect = _find_effect(options, recipe, plan, root)
    _write(effect, options.out)


def _print_plan(plan: Plan, root: Path, jobs: int) -> None:
    records = {name: read_record(root / name) for name in plan.pieces}
    finished = {name: record for name, record in records.items() if record is not None}
    left = 0.0
    for name, piece in plan.pieces.items():
        seconds = estimate_seconds(piece, finished)
        done = name in finished
        left += 0.0 if done else seconds
        print(f"{'done  ' if done else 'to do '} {seconds:6.0f} s  {piece.label}")
    print(
        f"{len(plan.pieces)} pieces, {len(finished)} done; about {left / jobs / 60:.0f} minutes "
        f"left on a machine that does nothing else, {jobs} at once",
        flush=True,
    )


def _find_effect(options: argparse.Namespace, recipe: Recipe, plan: Plan, root: Path) -> Effect:
    _check_same_judges(plan, root)
    heldout = recipe.heldout_slots
    points = [Point(arm, stage) for arm in options.arms for stage in ARMS[arm].stages]
    judged = {
        point: [
            read_judged(root / plan.benches[seed, point].name, heldout) for seed in options.seeds
        ]
        for point in points
    }
    records = [read_record(root / name) or {} for name in plan.pieces]
    settings: dict[str, Any] = {
        "recipe": options.recipe,
        "data": options.data,
        "seeds": list(options.seeds),
        "arms": list(options.arms),
        "num_scenes": options.scenes,
        "heldout_slots": heldout,
        "num_threads": recipe.models.num_threads,
        "seconds": sum(record["seconds"] for record in records),
        "num_code_versions": len({record["code"] for record in records}),
    }
    return find_effect(judged, comparisons(options.arms), settings)


def _check_same_judges(plan: Plan, root: Path) -> None:
    results = [read_result(root / bench.name) for bench in plan.benches.values()]
    for other in results[1:]:
        check_comparable(results[0], other)


def _write(effect: Effect, out: Path) -> None:
    write_json(effect, out / "effect.json")
    draw(effect, out / PLOT)
    write_markdown(effect, out / "effect.md", PLOT)
    for text, holds, _ in effect.claims():
        print(f"{ {True: 'yes', False: 'NO', None: 'unknown'}[holds]:8}{text}")
    print(f"written to {out / 'effect.md'}, {out / 'effect.json'} and {out / PLOT}")


if __name__ == "__main__":
    sys.exit(main())
