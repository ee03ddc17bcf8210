"""`uae weights`: published weights become what a recipe starts from, and are checked."""

from __future__ import annotations

import argparse
from pathlib import Path

from uae.commands.options import Commands, count, seed
from uae.errors import ModelError

SOURCE = "a folder, s3://bucket/prefix, or hub:org/name@revision"


def add_commands(commands: Commands) -> None:
    """Add the commands of this group."""
    weights = commands.add_parser("weights", help="fetch, assemble and check base weights")
    actions = weights.add_subparsers(
        title="actions", metavar="ACTION", required=True, help="what to do"
    )
    _add_assemble(actions)
    add = actions.add_parser("add", help="take a scorer, detector or judge into a weights folder")
    add.add_argument("source", help=f"as transformers or open_clip saves it: {SOURCE}")
    add.add_argument("out", type=Path, help="new folder, such as weights/scorers/dinov2-large")
    add.add_argument("--licence", help="its name; default: known by the configuration")
    add.set_defaults(command=_add)
    manifest = actions.add_parser("manifest", help="write the manifest of a weights folder at hand")
    manifest.add_argument("folder", type=Path, help="with bundles, scorers/, detectors and judges")
    manifest.add_argument(
        "--licence",
        action="append",
        default=[],
        type=_part_and_name,
        metavar="PART=NAME",
        help="of a part, or of a folder's parts; may be repeated; default: as known",
    )
    manifest.set_defaults(command=_manifest)
    check = actions.add_parser("check", help="say what is wrong with a recipe's weights")
    check.add_argument("recipe", help="name, or a YAML file")
    check.add_argument(
        "--hashes",
        action="store_true",
        help="read every file and compare it with the manifest; default: sizes and headers",
    )
    check.set_defaults(command=_check)


def _add_assemble(actions: Commands) -> None:
    assemble = actions.add_parser(
        "assemble", help="make a base bundle of Qwen2.5-VL, SD3 and a connector of random weights"
    )
    assemble.add_argument("out", type=Path, help="the bundle's new folder, in a weights folder")
    assemble.add_argument(
        "--encoder",
        default="hub:Qwen/Qwen2.5-VL-3B-Instruct",
        help=f"as transformers saves it: {SOURCE}; default: %(default)s",
    )
    assemble.add_argument(
        "--decoder",
        default="hub:stabilityai/stable-diffusion-3.5-large",
        help=f"as diffusers saves it: {SOURCE}; default: %(default)s",
    )
    for part in ("encoder", "decoder"):
        assemble.add_argument(
            f"--{part}-licence", help="its name; default: known by the configuration"
        )
    assemble.add_argument(
        "--seed", type=seed, default=0, help="of the connector; default: %(default)s"
    )
    numbers = {
        "connector-width": (8192, "between the connector's two layers"),
        "condition-tokens": (528, "of every condition: caption and its chat turn"),
        "image-size": (512, "side in pixels of a picture that is drawn"),
        "max-pixels": (65536, "that the encoder sees of a picture"),
    }
    for name, (default, meaning) in numbers.items():
        assemble.add_argument(
            f"--{name}", type=count, default=default, help=f"{meaning}; default: %(default)s"
        )
    assemble.set_defaults(command=_assemble)


def _assemble(options: argparse.Namespace) -> None:
    from uae.weights.assembling import Choices, assemble

    choices = Choices(
        seed=options.seed,
        connector_width=options.connector_width,
        condition_tokens=options.condition_tokens,
        image_size=options.image_size,
        max_pixels=options.max_pixels,
        encoder_licence=options.encoder_licence,
        decoder_licence=options.decoder_licence,
    )
    _say(options.out, assemble(options.encoder, options.decoder, options.out, choices))


def _add(options: argparse.Namespace) -> None:
    from uae.weights.assembling import add_model

    _say(options.out, add_model(options.source, options.out, licence=options.licence))


def _manifest(options: argparse.Namespace) -> None:
    from uae.weights.recording import record_all

    _say(options.folder, record_all(options.folder, dict(options.licence)))


def _check(options: argparse.Namespace) -> None:
    from uae.recipe_files import load_recipe
    from uae.weights.check import check_weights
    from uae.weights.expected import check_part

    recipe = load_recipe(options.recipe)
    faults = check_weights(recipe, hashes=options.hashes, check_tensors=check_part)
    for fault in faults:
        print(fault)
    if faults:
        found = f"{len(faults)} fault{'s' * (len(faults) > 1)}"
        raise ModelError(f"{found} in the weights of {recipe.name}")
    print(f"the weights of {recipe.name} are in order")


def _say(path: Path, sha256: str) -> None:
    print(f"{path}\nmanifest: {sha256}")


def _part_and_name(text: str) -> tuple[str, str]:
    part, found, name = text.partition("=")
    if not (part and found and name):
        raise argparse.ArgumentTypeError(f"{text!r}: give PART=NAME, such as judge=apache-2.0")
    return part.strip("/"), name
