"""Measure speed: `make bench`, or `python benchmarks/bench.py --help`.

Prints a table and writes the same numbers, with machine and versions, as JSON.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from measurement import Measurement, print_table, write_json

GROUPS = ("startup", "models", "updates", "scoring")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("groups", nargs="*", default=GROUPS, help=f"of {', '.join(GROUPS)}")
    parser.add_argument("--recipe", default="starter", help="name or .yaml file")
    parser.add_argument("--data", default="starter", help="data set, as for `uae run`")
    parser.add_argument("--updates", type=int, default=5, help="updates profiled for each stage")
    parser.add_argument("--run", type=Path, help="a finished run's folder, held to its budget")
    parser.add_argument("--out", type=Path, default=Path("runs/bench.json"))
    arguments = parser.parse_args()
    unknown = set(arguments.groups) - set(GROUPS)
    if unknown:
        parser.error(f"unknown group {', '.join(sorted(unknown))}: choose of {', '.join(GROUPS)}")

    measurements = []
    for found in measure(arguments):
        print(f"{found.name}: {found.value:.4g} {found.unit}", flush=True)
        measurements.append(found)
    print_table(measurements)
    settings = {key: str(value) for key, value in vars(arguments).items()}
    write_json(arguments.out, measurements, settings)
    print(f"written to {arguments.out}")


def measure(arguments: argparse.Namespace) -> Iterator[Measurement]:
    if arguments.run:
        import run_budget

        yield from run_budget.measure(arguments.run)
    if "startup" in arguments.groups:
        import startup

        yield from startup.measure()
    if "scoring" in arguments.groups:
        import scoring

        from uae.recipe_files import load_recipe

        with TemporaryDirectory() as folder:
            yield from scoring.measure(load_recipe(arguments.recipe), Path(folder))
    if {"models", "updates"} & set(arguments.groups):
        with TemporaryDirectory() as folder:
            yield from _measure_models(arguments, Path(folder))


def _measure_models(arguments: argparse.Namespace, folder: Path) -> Iterator[Measurement]:
    import models
    import updates

    from uae.data.validate import validate_data
    from uae.models.bundle import resolve_base
    from uae.recipe_files import load_recipe

    recipe = load_recipe(arguments.recipe)
    base = resolve_base(recipe.models.base)
    data = folder / "data"
    validate_data(recipe, arguments.data, data, folder / "data.html")
    if "models" in arguments.groups:
        yield from models.measure(recipe, data, base)
    if "updates" in arguments.groups:
        yield from updates.measure(recipe, data, base, arguments.updates)


if __name__ == "__main__":
    main()
