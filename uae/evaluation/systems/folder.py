"""Pictures and captions that were made elsewhere, in each benchmark's own layout.

<folder>/geneval/00000/samples/0000.png         and metadata.jsonl beside samples/, checked
<folder>/dpg_bench/<item_id>.png                a 2 x 2 grid, or <item_id>/0.png .. 3.png
<folder>/unified_bench/captions.jsonl           {"image_id", "caption"} in each line
<folder>/unified_bench/reconstruction/<image_id>.png
<folder>/geneval_plus/<id>.png, <folder>/geneval_2/<id>.png, <folder>/text_fidelity/...
"""

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from uae.errors import EvaluationError
from uae.evaluation.pictures import Pixels, cut_grid, read_png
from uae.evaluation.systems.base import Capabilities, CaptionRequest, Failure, PictureRequest
from uae.fingerprints import folder_sha256
from uae.recipe import FolderSystemRecipe

CAPTIONS = "captions.jsonl"
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_SHOWN = 20


class FolderSystem:
    """A system whose answers are files."""

    def __init__(self, recipe: FolderSystemRecipe) -> None:
        self._root = Path(recipe.path)
        if not self._root.is_dir():
            raise EvaluationError(f"system {recipe.name!r}: no folder {recipe.path}")
        self._missing_allowed = recipe.missing == "count"
        self._captions: dict[str, dict[str, str]] = {}
        self._grid: tuple[Path, list[Pixels]] | None = None  # the last one: crops come in a row
        self.identity = {
            "name": recipe.name,
            "kind": "folder",
            "sha256": folder_sha256(self._root),
        }
        has_pictures = any(path.suffix.lower() in SUFFIXES for path in self._root.rglob("*"))
        has_captions = any(self._root.glob(f"*/{CAPTIONS}"))
        self.capabilities = Capabilities(captions=has_captions, pictures=has_pictures)

    @property
    def settings(self) -> dict[str, Any]:
        """How it was made is not known here."""
        return {"made": "elsewhere"}

    def check_places(self, benchmark: str, places: Collection[str]) -> None:
        """Refuse a folder that does not hold exactly one picture for each place.

        Args:
            benchmark: The subfolder.
            places: All pictures that will be asked for.

        Raises:
            EvaluationError: Naming what is missing (unless that is to be counted) or superfluous.
        """
        found = {path: self._file(path) for path in places}
        missing = (
            [] if self._missing_allowed else sorted(p for p, file in found.items() if not file)
        )
        used = {file for file in found.values() if file}
        there = {p for p in self._root.glob(f"{benchmark}/**/*") if p.suffix.lower() in SUFFIXES}
        superfluous = sorted(str(p.relative_to(self._root)) for p in there - used)
        faults = [
            f"{len(names)} {what}: {', '.join(names[:_SHOWN])}{' ...' * (len(names) > _SHOWN)}"
            for what, names in (("missing", missing), ("superfluous", superfluous))
            if names
        ]
        if faults:
            raise EvaluationError(
                f"{self._root} does not fit the {len(places)} pictures that {benchmark} asks for: "
                + "; ".join(faults)
            )

    def caption(self, requests: Sequence[CaptionRequest]) -> list[str | Failure]:
        """Return the captions that stand in the folder."""
        answers: list[str | Failure] = []
        for request in requests:
            benchmark, _, sample = request.place.partition("/")
            caption = self._captions_of(benchmark).get(sample)
            answers.append(
                Failure(f"no caption of {sample!r} in {benchmark}/{CAPTIONS}")
                if caption is None
                else caption
            )
        return answers

    def generate(self, requests: Sequence[PictureRequest]) -> list[Pixels | Failure]:
        """Return the pictures that stand in the folder."""
        return [self._picture(request.place) for request in requests]

    def close(self) -> None:
        """Nothing is held."""

    def _picture(self, place: str) -> Pixels | Failure:
        file = self._file(place)
        if file is None:
            return Failure(f"no picture {place}")
        try:
            if file.parent != (self._root / place).parent:  # the grid of which it is a part
                return self._crops(file)[int(Path(place).stem)]
            return read_png(file)
        except EvaluationError as error:
            if not self._missing_allowed:
                raise
            return Failure(str(error))

    def _crops(self, file: Path) -> list[Pixels]:
        if self._grid is None or self._grid[0] != file:
            self._grid = file, cut_grid(read_png(file), name=file.name)
        return self._grid[1]

    def _file(self, place: str) -> Path | None:
        """Return the file of a place: itself, with another suffix, or the grid it is a part of."""
        path = self._root / place
        candidates = [path.with_suffix(suffix) for suffix in SUFFIXES]
        if path.stem in ("0", "1", "2", "3"):
            candidates += [path.parent.with_name(path.parent.name + suffix) for suffix in SUFFIXES]
        return next((candidate for candidate in candidates if candidate.is_file()), None)

    def _captions_of(self, benchmark: str) -> dict[str, str]:
        if benchmark not in self._captions:
            path = self._root / benchmark / CAPTIONS
            absent = self._missing_allowed and not path.is_file()
            self._captions[benchmark] = {} if absent else _read_captions(path)
        return self._captions[benchmark]


def _read_captions(path: Path) -> dict[str, str]:
    """Read {"image_id", "caption"} rows.

    Raises:
        EvaluationError: Naming the line that is no such row, or whose id stands twice.
    """
    if not path.is_file():
        raise EvaluationError(f"no captions at {path}")
    captions: dict[str, str] = {}
    text = path.read_text(encoding="utf-8-sig")
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            image_id, caption = row["image_id"], row["caption"]
        except (ValueError, KeyError, TypeError) as error:
            raise EvaluationError(f"{path}:{number}: not a caption row: {error!r}") from error
        if not (isinstance(image_id, str) and isinstance(caption, str)):
            raise EvaluationError(f"{path}:{number}: image_id and caption must be texts: {line}")
        if image_id in captions:
            raise EvaluationError(f"{path}:{number}: image_id {image_id!r} stands twice")
        captions[image_id] = caption
    return captions
