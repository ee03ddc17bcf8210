"""A suite of benchmarks on one system: what `uae evaluate` runs."""

from collections.abc import Collection, Iterator
from importlib import import_module
from pathlib import Path

from uae.data.starter.vocabulary import STARTER_DATA
from uae.errors import EvaluationError
from uae.evaluation.context import Context
from uae.evaluation.journal import WHOLE, Shard, Unfinished
from uae.evaluation.results import Result
from uae.evaluation.systems.base import System
from uae.evaluation.systems.loading import load_system
from uae.models.bundle import resolve_base
from uae.recipe import Strict, SuiteRecipe, SystemRecipe
from uae.training.numerics import exact_numerics


def run_suite(
    suite: SuiteRecipe,
    system: SystemRecipe,
    out: Path,
    *,
    benchmarks: Collection[str] = (),
    shard: Shard = WHOLE,
    retry_failures: bool = False,
    show_progress: bool = True,
) -> Iterator[tuple[str, Result | None]]:
    """Judge a system, one benchmark after another, each in its own folder below `out`.

    Args:
        suite: The benchmarks.
        system: The system under test.
        out: Receives <benchmark>/results.json, samples.parquet and images/. What an interrupted
            evaluation left there is taken up.
        benchmarks: Only these of the suite's; empty for all.
        shard: Which batches this process works on.
        retry_failures: Whether samples that are missing or could not be judged are done again.
        show_progress: Whether progress bars are drawn.

    Yields:
        The benchmark with its result; None while other shards have not finished.

    Raises:
        EvaluationError: If nothing can be scored honestly: bad prompts, a failed self-test.
        ModelError: If weights are missing or do not fit.
    """
    chosen = choose_benchmarks(suite, benchmarks)
    with exact_numerics(suite.num_threads) as device:
        context = Context(
            seed=suite.seed,
            judging=suite,
            weights=_weights(suite.weights),
            data=STARTER_DATA if suite.data == "starter" else Path(suite.data),
            device=device,
            endpoint=suite.endpoint,
            shard=shard,
            retry_failures=retry_failures,
            show_progress=show_progress,
        )
        tested = load_system(system, device)
        for name, settings in chosen.items():
            yield name, run_benchmark(name, settings, context, tested, out / name)


def run_benchmark(
    name: str, settings: Strict, context: Context, system: System, out: Path
) -> Result | None:
    """Judge a system by one benchmark; None while other shards have not finished."""
    module = import_module(f"uae.evaluation.{name}.run")
    try:
        result: Result = module.run(settings, context, system, out)
    except Unfinished:
        return None
    finally:
        system.close()
    return result


def choose_benchmarks(suite: SuiteRecipe, names: Collection[str]) -> dict[str, Strict]:
    """Return the suite's benchmarks, or those of these names, with their settings.

    Raises:
        EvaluationError: If the suite has none, or not one that is asked for.
    """
    given = {
        name: settings
        for name in type(suite.benchmarks).model_fields
        if (settings := getattr(suite.benchmarks, name)) is not None
    }
    unknown = sorted(set(names) - given.keys())
    if unknown or not given:
        raise EvaluationError(
            f"suite {suite.name!r} has no benchmark {', '.join(unknown) or 'at all'}; it has "
            f"{', '.join(given) or 'none'}"
        )
    return {name: settings for name, settings in given.items() if not names or name in names}


def _weights(name_or_folder: str) -> Path:
    if name_or_folder == "starter":
        return resolve_base("starter").parent
    folder = Path(name_or_folder)
    if not folder.is_dir():
        raise EvaluationError(f"weights: no folder {name_or_folder}; give one, or starter")
    return folder
