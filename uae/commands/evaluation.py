"""`uae evaluate / pairwise`: benchmarks for any system, and judges that compare captions."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from uae.commands.options import Commands
from uae.errors import EvaluationError

if TYPE_CHECKING:
    from uae.evaluation.results import Result


def add_commands(commands: Commands) -> None:
    """Add the commands of this group."""
    evaluate = commands.add_parser("evaluate", help="judge any system by a suite of benchmarks")
    evaluate.add_argument(
        "--system",
        default="starter",
        help="which system: a YAML file, or the name of a shipped one; default: %(default)s",
    )
    evaluate.add_argument(
        "--suite",
        default="starter",
        help="which benchmarks: a YAML file, or the name of a shipped one; default: %(default)s",
    )
    evaluate.add_argument(
        "--out",
        type=Path,
        default=Path("results"),
        help="folder for the results; what an interrupted evaluation left there is gone on with; "
        "default: %(default)s",
    )
    evaluate.add_argument(
        "--benchmarks",
        metavar="NAME,...",
        default="",
        help="only these of the suite's; default: all",
    )
    evaluate.add_argument(
        "--retry-failures",
        action="store_true",
        help="do samples again that are missing or that a judge could not judge; by default they "
        "stay as they are",
    )
    several = evaluate.add_mutually_exclusive_group()
    several.add_argument(
        "--processes",
        type=int,
        default=1,
        help="processes on this machine, spread over its GPUs; default: %(default)s",
    )
    several.add_argument(
        "--shard",
        metavar="N/COUNT",
        help="do one part of COUNT, and start the others elsewhere; default: all of it",
    )
    evaluate.set_defaults(command=_evaluate)
    _add_pairwise(commands)


def _add_pairwise(commands: Commands) -> None:
    pairwise = commands.add_parser("pairwise", help="have judges compare two systems' captions")
    pairwise.add_argument("a", type=Path, help="Unified-Bench result folder of one system")
    pairwise.add_argument("b", type=Path, help="and of the other, on the same pictures")
    pairwise.add_argument(
        "--judges",
        default="server",
        help="YAML file that names the judges, or the name of a shipped one; default: %(default)s",
    )
    pairwise.add_argument(
        "--retry-failures",
        action="store_true",
        help="ask again about pictures that a judge could not judge; by default they stay",
    )
    pairwise.add_argument(
        "--shard", metavar="N/COUNT", help="do one part of COUNT; default: all of it"
    )
    pairwise.add_argument(
        "--weights",
        type=Path,
        default=Path(),
        help="folder in which the names of local judges are looked up; default: this one",
    )
    pairwise.add_argument(
        "--out",
        type=Path,
        default=Path("pairwise"),
        help="folder for the result; default: %(default)s",
    )
    pairwise.set_defaults(command=_pairwise)


def _evaluate(options: argparse.Namespace) -> int:
    from uae.launch.evaluation_processes import EXIT_INCOMPLETE, run_shards
    from uae.launch.parent import follow_parent
    from uae.recipe_files import load_suite, load_system_recipe

    suite, system = load_suite(options.suite), load_system_recipe(options.system)
    if options.processes < 1:
        raise EvaluationError(f"--processes {options.processes}: give 1 or more")
    names = [name for name in options.benchmarks.split(",") if name]
    if options.retry_failures and (options.processes > 1 or options.shard):
        raise EvaluationError("--retry-failures is for one process: leave out --processes, --shard")
    if options.processes > 1:
        run_shards(_again(options), options.processes)
    follow_parent()
    from uae.evaluation.journal import WHOLE, Shard
    from uae.evaluation.suite import run_suite

    found = run_suite(
        suite,
        system,
        options.out,
        benchmarks=names,
        retry_failures=options.retry_failures,
        shard=Shard.parse(options.shard) if options.shard else WHOLE,
    )
    complete = True
    for name, result in found:
        print(_line(name, result), flush=True)
        complete &= result is None or result.complete
    return 0 if complete else EXIT_INCOMPLETE


def _again(options: argparse.Namespace) -> list[str]:
    """Return the arguments with which the same evaluation is asked for in another process."""
    arguments = ["evaluate", "--system", options.system, "--suite", options.suite]
    arguments += ["--out", str(options.out), "--benchmarks", options.benchmarks]
    return arguments


def _pairwise(options: argparse.Namespace) -> int:
    from uae.evaluation.journal import WHOLE, Shard, Unfinished
    from uae.evaluation.pairwise.run import judge_pairs
    from uae.launch.evaluation_processes import EXIT_INCOMPLETE
    from uae.recipe_files import load_pairwise

    recipe = load_pairwise(options.judges)
    try:
        result = judge_pairs(
            options.a,
            options.b,
            recipe,
            options.weights,
            options.out,
            shard=Shard.parse(options.shard) if options.shard else WHOLE,
            retry_failures=options.retry_failures,
        )
    except Unfinished:
        print(_line("pairwise", None))
        return 0
    print(_line("pairwise", result))
    return 0 if result.complete else EXIT_INCOMPLETE


def _line(name: str, result: Result | None) -> str:
    if result is None:
        return f"{name}: this part is done; the others are not"
    digits = 4 if result.unit == "share" else 2
    states = ", ".join(f"{count} {state}" for state, count in result.states.items() if count)
    if result.score is not None and result.interval is not None:
        low, high = result.interval
        shown = f"{result.score:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
    elif result.bounds is not None:
        low, high = result.bounds
        shown = f"incomplete, between {low:.{digits}f} and {high:.{digits}f}"
    else:
        shown = "no score"
    return f"{name}: {shown} ({result.protocol}; {states})"
