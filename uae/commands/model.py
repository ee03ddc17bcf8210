"""`uae caption / generate / reconstruct`: an exported model from the shell."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from uae.commands.options import Commands, add_out, seed

if TYPE_CHECKING:
    from PIL import Image

PICTURES = (".png", ".jpg", ".jpeg", ".webp")
PICTURE_OUT = "picture to write, .png, .jpg, .jpeg or .webp"


def add_commands(commands: Commands) -> None:
    """Add the commands of this group."""
    caption = commands.add_parser("caption", help="describe pictures")
    _add_model(caption)
    caption.add_argument(
        "pictures", nargs="+", type=Path, help="PNG, JPEG or WebP files to describe"
    )
    caption.set_defaults(command=_caption)

    generate = commands.add_parser("generate", help="draw a picture from a text")
    _add_model(generate)
    generate.add_argument("text", help="what to draw, in quotes")
    add_out(generate, PICTURE_OUT, Path("generated.png"), *PICTURES)
    _add_seed_of_noise(generate)
    generate.set_defaults(command=_generate)

    reconstruct = commands.add_parser("reconstruct", help="describe a picture and draw it again")
    _add_model(reconstruct)
    reconstruct.add_argument("picture", type=Path, help="PNG, JPEG or WebP file to draw again")
    add_out(reconstruct, PICTURE_OUT, Path("reconstruction.png"), *PICTURES)
    _add_seed_of_noise(reconstruct)
    reconstruct.set_defaults(command=_reconstruct)


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        default="starter",
        help="exported model or bundle, such as runs/<run>/model; default: starter, the shipped "
        "base weights, not your run's",
    )


def _add_seed_of_noise(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--seed", type=seed, default=0, help="of the noise drawn from; default: %(default)s"
    )


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
