"""Pictures and captions that were made elsewhere, in each benchmark's own layout.

<folder>/geneval/00000/samples/0000.png         in the order of the numbers, of any length; a
                                                metadata.jsonl beside samples/ is checked
<folder>/dpg_bench/<item_id>.png                a 2 x 2 grid, or <item_id>/0.png .. 3.png; all of
                                                one size
<folder>/unified_bench/captions.jsonl           {"image_id", "caption"} in each line
<folder>/unified_bench/reconstruction/<image_id>.png
<folder>/geneval_plus/<id>.png, <folder>/geneval_2/<id>.png, <folder>/text_fidelity/...
"""

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from uae.errors import EvaluationError
from uae.evaluation.dpg_bench.grids import BENCHMARK as DPG_BENCH
from uae.evaluation.dpg_bench.grids import NUM_CROPS, check_one_size, picture_size
from uae.evaluation.geneval.images import BENCHMARK as GENEVAL
from uae.evaluation.geneval.images import given_pictures
from uae.evaluation.json_lines import read_json_lines
from uae.evaluation.pictures import Pixels, cut_grid, read_png
from uae.evaluation.systems.base import Capabilities, CaptionRequest, Failure, PictureRequest
from uae.fingerprints import folder_sha256
from uae.recipe import FolderSystemRecipe

CAPTIONS = "captions.jsonl"
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_SHOWN = 20


class FolderSystem:
    """A system whose answers are files.

    Its identity is that of the whole folder: a file that is added for one benchmark makes another
    system of it for all, so that unfinished evaluations of it begin anew in a new folder.
    """

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

    @property
    def root(self) -> Path:
        """The folder."""
        return self._root

    def check_places(self, benchmark: str, places: Collection[str]) -> None:
        """Refuse a folder that does not hold exactly one picture for each place.

        Args:
            benchmark: The subfolder.
            places: All pictures that will be asked for.

        Raises:
            EvaluationError: Naming what is missing (unless that is to be counted) or superfluous,
                two pictures for one place, or two of DPG-Bench that differ in size.
        """
        found = {path: self._file(path) for path in places}
        missing = (
            [] if self._missing_allowed else sorted(p for p, file in found.items() if not file)
        )
        used = {file for file in found.values() if file}
        superfluous = sorted(map(self._name, self._there(benchmark) - used))
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
        if benchmark == DPG_BENCH:
            self._check_sizes(found)

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
            if self._is_grid(file, place):
                return self._crops(file)[int(Path(place).stem)]
            return read_png(file)
        except EvaluationError as error:
            if not self._missing_allowed:
                raise
            return Failure(_without(str(file), self._name(file), str(error)))

    def _crops(self, file: Path) -> list[Pixels]:
        if self._grid is None or self._grid[0] != file:
            self._grid = file, cut_grid(read_png(file), name=file.name)
        return self._grid[1]

    def _file(self, place: str) -> Path | None:
        """Return the file of a place: itself, with another suffix, or the grid it is a part of."""
        benchmark = place.partition("/")[0]
        if benchmark == GENEVAL:
            return self._geneval.get(place)
        path = self._root / place
        candidates = [path.with_suffix(suffix) for suffix in SUFFIXES]
        if benchmark == DPG_BENCH and path.stem in map(str, range(NUM_CROPS)):
            candidates += [path.parent.with_name(path.parent.name + suffix) for suffix in SUFFIXES]
        return next((candidate for candidate in candidates if candidate.is_file()), None)

    def _is_grid(self, file: Path, place: str) -> bool:
        return place.startswith(f"{DPG_BENCH}/") and file.parent != (self._root / place).parent

    @cached_property
    def _geneval(self) -> dict[str, Path]:
        return given_pictures(self._root / GENEVAL)

    def _there(self, benchmark: str) -> set[Path]:
        """Return all pictures of a benchmark."""
        if benchmark == GENEVAL:
            return set(self._geneval.values())
        return {p for p in self._root.glob(f"{benchmark}/**/*") if p.suffix.lower() in SUFFIXES}

    def _check_sizes(self, found: Mapping[str, Path | None]) -> None:
        sizes = {}
        for place, file in found.items():
            if file is None or self._name(file) in sizes:
                continue
            try:
                width, height = picture_size(file)
            except EvaluationError:
                if not self._missing_allowed:
                    raise
                continue
            cut = 2 if self._is_grid(file, place) else 1
            sizes[self._name(file)] = width // cut, height // cut
        check_one_size(sizes)

    def _name(self, file: Path) -> str:
        return file.relative_to(self._root).as_posix()

    def _captions_of(self, benchmark: str) -> dict[str, str]:
        if benchmark not in self._captions:
            path = self._root / benchmark / CAPTIONS
            absent = self._missing_allowed and not path.is_file()
            self._captions[benchmark] = {} if absent else _read_captions(path)
        return self._captions[benchmark]


def _read_captions(path: Path) -> dict[str, str]:
    """Read {"image_id", "caption"} rows.

    Raises:
        EvaluationError: If there is no such file, it is not UTF-8, or naming the line that is no
            such row, or whose id stands in an earlier line.
    """
    if not path.is_file():
        raise EvaluationError(f"no captions at {path}")
    try:
        text = path.read_text(encoding="utf-8-sig")  # line ends become \n, as in prompt files
    except UnicodeDecodeError as error:
        raise EvaluationError(f"{path} is not UTF-8 text: {error}") from error
    rows = read_json_lines(
        text, _caption_row, source=str(path), what="a caption row", same=lambda row: row[0]
    )
    return dict(rows)


def _caption_row(row: Mapping[str, Any]) -> tuple[str, str]:
    image_id, caption = row["image_id"], row["caption"]
    if not (isinstance(image_id, str) and isinstance(caption, str)):
        raise ValueError(f"image_id and caption must be texts: {row!r:.200}")
    return image_id, caption


def _without(path: str, name: str, reason: str) -> str:
    """Return a reason with a file's name in the place of its path: results hold no machine's paths.

    Some libraries write a path as it is in Python's source.
    """
    return reason.replace(repr(path), repr(name)).replace(path, name)
