"""`uae recipes / validate / compile / run / report`: the pipeline on this machine."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from uae.commands.options import Commands, add_out, add_run_root, seed
from uae.errors import RunError

RUN_DEFAULTS: dict[str, Any] = {  # of what a resumed run takes from its first start
    "recipe": "starter",
    "data": "starter",
    "seed": None,
    "endpoint": "",
    "bucket": "uae",
}


def add_commands(commands: Commands) -> None:
    """Add the commands of this group."""
    recipes = commands.add_parser("recipes", help="list the shipped recipes")
    recipes.set_defaults(command=_recipes)
    _add_validate(commands)
    _add_compile(commands)
    _add_run(commands)
    report = commands.add_parser("report", help="write the report of a run anew")
    report.add_argument("run_id", help="name of the run: its folder in the run root")
    add_run_root(report)
    report.set_defaults(command=_report)


def _add_validate(commands: Commands) -> None:
    validate = commands.add_parser("validate", help="check a recipe and a data set")
    validate.add_argument(
        "--recipe", default="starter", help="name, or a YAML file; default: %(default)s"
    )
    validate.add_argument(
        "--data", default="starter", help='"starter", the default, a folder, or s3://...'
    )
    validate.add_argument(
        "--out", type=Path, help="keep data set and report in this folder; default: keep neither"
    )
    validate.set_defaults(command=_validate)


def _add_compile(commands: Commands) -> None:
    compile_ = commands.add_parser("compile", help="compile the pipeline for a cluster")
    add_cluster_files(compile_)
    add_out(compile_, "package to write, .yaml or .yml", Path("uae.yaml"), ".yaml", ".yml")
    compile_.set_defaults(command=_compile)


def add_cluster_files(parser: argparse.ArgumentParser) -> None:
    """Add what a package is compiled from beside the pipeline itself."""
    parser.add_argument(
        "--resources", help="what steps get on the cluster: name, or a YAML file; default: starter"
    )
    parser.add_argument(
        "--images", type=Path, help="YAML file of image references; default: the shipped ones"
    )


def cluster_files(options: argparse.Namespace) -> dict[str, Any]:
    """Return those of `add_cluster_files` that were given."""
    given = {"resources": options.resources, "images": options.images}
    return {name: value for name, value in given.items() if value is not None}


def _add_run(commands: Commands) -> None:
    run = commands.add_parser("run", help="run the whole pipeline on this machine")
    run.add_argument("--recipe", help="name, or a YAML file; default: starter")
    run.add_argument("--data", help='"starter", the default, a folder, or s3://...')
    run.add_argument("--seed", type=seed, help="whole number; default: the recipe's")
    run.add_argument(
        "--resume",
        metavar="RUN_ID",
        help="go on with this run as it was started; default: start a new one",
    )
    add_run_root(run)
    run.add_argument("--endpoint", help="address of an S3 store; default: an embedded one")
    run.add_argument("--bucket", help="bucket of the store; default: uae")
    run.set_defaults(command=_run)


def _recipes(options: argparse.Namespace) -> None:
    del options
    from uae.recipe_files import load_recipe, recipe_names

    for name in recipe_names():
        recipe = load_recipe(name)
        models = recipe.models
        print(f"{name}: base {models.base}, {models.condition_source}, seed {recipe.seed}")


def _validate(options: argparse.Namespace) -> None:
    import tempfile

    from uae.data.validate import validate_data
    from uae.launch.validation import settle_recipe

    recipe = settle_recipe(options.recipe)
    with tempfile.TemporaryDirectory() as temporary:
        out = options.out or Path(temporary)
        out.mkdir(parents=True, exist_ok=True)
        counts = validate_data(recipe, options.data, out / "dataset", out / "data-report.html")
    for name, value in counts.items():
        print(f"{name}: {value:g}")


def _compile(options: argparse.Namespace) -> None:
    from uae_pipelines.commands import compile_pipeline

    print(compile_pipeline(options.out, **cluster_files(options)))


def _run(options: argparse.Namespace) -> None:
    from uae_pipelines.commands import run

    found = {name: getattr(options, name) for name in RUN_DEFAULTS}
    chosen = {name: value for name, value in found.items() if value is not None}
    if options.resume and chosen:
        raise RunError(
            f"--resume {options.resume} goes on with the run as it was started, without "
            f"{', '.join(f'--{name}' for name in chosen)}: leave that out, or start a new run"
        )
    run(**RUN_DEFAULTS | chosen, resume=options.resume, run_root=options.run_root)


def _report(options: argparse.Namespace) -> None:
    from uae_pipelines.commands import report

    print(report(options.run_id, options.run_root))
