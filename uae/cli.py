"""The `uae` command: one screen of subcommands. Everything heavy is imported when it is needed."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from uae.errors import RunError, UaeError

if TYPE_CHECKING:
    from PIL import Image

EXIT_USER_ERROR = 2
EXIT_SIGNAL = 128  # + its number, as shells count
PICTURES = (".png", ".jpg", ".jpeg", ".webp")
PICTURE_OUT = "picture to write, .png, .jpg, .jpeg or .webp"
RUN_DEFAULTS: dict[str, Any] = {  # of what a resumed run takes from its first start
    "recipe": "starter",
    "data": "starter",
    "seed": None,
    "endpoint": "",
    "bucket": "uae",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand and return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        options.command(options)
    except (UaeError, OSError) as error:  # OSError: a full disk, a folder that is read-only
        print(f"uae: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    except KeyboardInterrupt as interrupt:
        print("uae: stopped", file=sys.stderr)
        number: int = interrupt.args[0] if interrupt.args else signal.SIGINT
        return EXIT_SIGNAL + number
    return 0


# argparse has no public name for it, and at run time it takes no parameter.
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="uae",
        description="Train a unified model as an auto-encoder whose bottleneck is language.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_pipeline_commands(commands)
    _add_model_commands(commands)
    return parser


def _add_pipeline_commands(commands: Commands) -> None:
    recipes = commands.add_parser("recipes", help="list the shipped recipes")
    recipes.set_defaults(command=_recipes)

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

    compile_ = commands.add_parser("compile", help="compile the pipeline for a cluster")
    _add_out(compile_, "package to write, .yaml or .yml", Path("uae.yaml"), ".yaml", ".yml")
    compile_.set_defaults(command=_compile)

    run = commands.add_parser("run", help="run the whole pipeline on this machine")
    run.add_argument("--recipe", help="name, or a YAML file; default: starter")
    run.add_argument("--data", help='"starter", the default, a folder, or s3://...')
    run.add_argument("--seed", type=_seed, help="whole number; default: the recipe's")
    run.add_argument(
        "--resume",
        metavar="RUN_ID",
        help="go on with this run as it was started; default: start a new one",
    )
    _add_run_root(run)
    run.add_argument("--endpoint", help="address of an S3 store; default: an embedded one")
    run.add_argument("--bucket", help="bucket of the store; default: uae")
    run.set_defaults(command=_run)

    report = commands.add_parser("report", help="write the report of a run anew")
    report.add_argument("run_id", help="name of the run: its folder in the run root")
    _add_run_root(report)
    report.set_defaults(command=_report)


def _add_model_commands(commands: Commands) -> None:
    caption = commands.add_parser("caption", help="describe pictures")
    _add_model(caption)
    caption.add_argument(
        "pictures", nargs="+", type=Path, help="PNG, JPEG or WebP files to describe"
    )
    caption.set_defaults(command=_caption)

    generate = commands.add_parser("generate", help="draw a picture from a text")
    _add_model(generate)
    generate.add_argument("text", help="what to draw, in quotes")
    _add_out(generate, PICTURE_OUT, Path("generated.png"), *PICTURES)
    _add_seed_of_noise(generate)
    generate.set_defaults(command=_generate)

    reconstruct = commands.add_parser("reconstruct", help="describe a picture and draw it again")
    _add_model(reconstruct)
    reconstruct.add_argument("picture", type=Path, help="PNG, JPEG or WebP file to draw again")
    _add_out(reconstruct, PICTURE_OUT, Path("reconstruction.png"), *PICTURES)
    _add_seed_of_noise(reconstruct)
    reconstruct.set_defaults(command=_reconstruct)


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        default="starter",
        help="exported model or bundle, such as runs/<run>/model; default: starter, the shipped "
        "base weights, not your run's",
    )


def _add_run_root(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--run-root", type=Path, default=Path("runs"), help="folder of runs; default: %(default)s"
    )


def _add_out(parser: argparse.ArgumentParser, what: str, default: Path, *suffixes: str) -> None:
    parser.add_argument(
        "--out", type=_writable(*suffixes), default=default, help=f"{what}; default: %(default)s"
    )


def _add_seed_of_noise(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--seed", type=_seed, default=0, help="of the noise drawn from; default: %(default)s"
    )


class _Version(argparse.Action):
    """Print the version, which takes an import that nothing else needs."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"uae {version('uae')}")
        parser.exit()


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no seed: give a whole number, 0 or more")
    return int(text)


def _writable(*suffixes: str) -> Callable[[str], Path]:
    """Return what reads the name of a file to write, and refuses it before the work is done."""

    def read(text: str) -> Path:
        path = Path(text)
        if path.suffix not in suffixes:
            raise argparse.ArgumentTypeError(f"{text!r} must end in {' or '.join(suffixes)}")
        if path.is_dir():
            raise argparse.ArgumentTypeError(f"{text!r} is a folder: name a file")
        if not path.parent.is_dir():
            raise argparse.ArgumentTypeError(
                f"{text!r}: there is no folder {str(path.parent)!r}; create it first"
            )
        return path

    return read


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

    print(compile_pipeline(options.out))


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


def _caption(options: argparse.Namespace) -> None:
    import uae

    images = [_open(path) for path in options.pictures]
    captions = uae.load(options.model).caption(images)
    for picture, caption in zip(options.pictures, captions, strict=True):
        print(f"{picture}: {caption}")


def _generate(options: argparse.Namespace) -> None:
    import uae

    model = uae.load(options.model)
    model.generate(options.text, seed=options.seed)[0].save(options.out)
    print(options.out)


def _reconstruct(options: argparse.Namespace) -> None:
    import uae

    picture = _open(options.picture)
    found = uae.load(options.model).reconstruct(picture, seed=options.seed)[0]
    found.image.save(options.out)
    print(f"{found.caption}\n{options.out}")


def _open(path: Path) -> Image.Image:
    """Read a picture; DataError says what is wrong with it."""
    from uae.data.images import decode_rgb
    from uae.errors import DataError

    if not path.is_file():
        raise DataError(f"no picture at {path}: give a PNG, JPEG or WebP file")
    try:
        return decode_rgb(path.read_bytes())
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
