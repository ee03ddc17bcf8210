"""Photographs whose content is known, for the self-tests of judges that were made for photographs.

`uae/assets/known_pictures/card.md` names their makers and licences. Judges of the starter's
drawings are tested on drawn scenes instead, see `benchmark_scenes`.
"""

import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

from uae.evaluation.pictures import Pixels, read_png

FOLDER = Path(__file__).parents[1] / "assets" / "known_pictures"


class KnownPicture(NamedTuple):
    """A photograph, what is surely in it, and what surely is not."""

    name: str
    picture: Pixels  # (H, W, 3), at most 384 pixels a side
    classes: tuple[str, ...]  # COCO's names of what is plainly there
    absent: tuple[str, ...]  # and of what plainly is not
    questions: tuple[tuple[str, bool], ...]  # yes/no questions with their answers
    caption: str  # a true description
    wrong_caption: str  # one as long, of something else


@cache
def known_photographs() -> tuple[KnownPicture, ...]:
    """Return the shipped photographs."""
    rows = json.loads((FOLDER / "pictures.json").read_text(encoding="utf-8"))
    return tuple(
        KnownPicture(
            row["name"],
            read_png(FOLDER / f"{row['name']}.jpg"),
            tuple(row["classes"]),
            tuple(row["absent"]),
            tuple((question, answer) for question, answer in row["questions"]),
            row["caption"],
            row["wrong_caption"],
        )
        for row in rows
    )
