"""The two phases of GenEval: pictures are painted into the official layout, then judged from it."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from uae.errors import EvaluationError
from uae.evaluation.context import Context
from uae.evaluation.geneval.images import (
    picture_place,
    picture_seed,
    sample_path,
    write_metadata,
)
from uae.evaluation.geneval.judging import Evidence, judge_objects, object_row
from uae.evaluation.geneval.lookahead import Lookahead
from uae.evaluation.geneval.models import GenevalModels
from uae.evaluation.geneval.prompts import GenevalPrompts
from uae.evaluation.journal import Journal, Row
from uae.evaluation.painting import IMAGES, paint
from uae.evaluation.pictures import Pixels, read_png
from uae.evaluation.results import Sample
from uae.evaluation.systems.base import PictureRequest, System

READERS = 4  # threads that decode the pictures of a batch


class Place(NamedTuple):
    """One picture of one prompt."""

    number: int
    image: int


class Looked(NamedTuple):
    """The pictures of a batch, None where there is none, and what the detector's model says."""

    pictures: list[Pixels | None]
    output: Any


@dataclass(frozen=True)
class Phases:
    """What both phases need; every batch depends on its position alone."""

    context: Context
    asked: GenevalPrompts
    images_per_prompt: int
    out: Path

    @property
    def places(self) -> list[Place]:
        """All pictures, those of a prompt one after another."""
        numbers = range(len(self.asked.prompts))
        return [Place(n, image) for n in numbers for image in range(self.images_per_prompt)]

    def paint(self, journal: Journal, system: System) -> None:
        """Paint this shard's pictures; beside them, each prompt's row."""

        def work(batch: Sequence[Place], _: list[Row]) -> list[Row]:
            for place in batch:
                prompt = self.asked.prompts[place.number]
                write_metadata(self.out / IMAGES, place.number, prompt)
            rows = paint(system, [self._request(place) for place in batch], self.out)
            for row in rows:
                if row["state"] == "missing":  # what an interrupted attempt may have left
                    (self.out / row["image"]).unlink(missing_ok=True)
            return rows

        self._map(journal, "pictures", work)

    def judge(self, journal: Journal, models: GenevalModels) -> list[Row] | None:
        """Judge this shard's pictures, and return the samples of all, or None while some lack."""
        size, places = self.context.judging.batch_size, self.places

        def read_all(batch: Sequence[Place]) -> list[Pixels | None]:
            paths = [sample_path(self.out / IMAGES, *place) for place in batch]
            return list(readers.map(_read, paths))

        def read(start: int) -> list[Pixels | None]:
            return read_all(places[start : start + size])

        def look(start: int) -> Looked:
            return look_at(pictures_of.take(start))

        def look_at(pictures: list[Pixels | None]) -> Looked:
            there = [picture for picture in pictures if picture is not None]
            return Looked(pictures, models.detector.infer(there) if there else None)

        def work(batch: Sequence[Place], painted: list[Row]) -> list[Row]:
            position = batch[0].number * self.images_per_prompt + batch[0].image
            start = position - position % size
            if list(batch) == places[start : start + size]:
                return self._judged(models, batch, painted, looked.take(start))
            return self._judged(models, batch, painted, look_at(read_all(batch)))  # some, again

        step = size * self.context.shard.count
        with (
            ThreadPoolExecutor(READERS) as readers,
            Lookahead(read, step=step, end=len(places)) as pictures_of,
            Lookahead(look, step=step, end=len(places)) as looked,
        ):
            return self._map(journal, "judged", work, after="pictures")

    def _map(self, journal: Journal, phase: str, work: Any, **options: Any) -> list[Row] | None:
        return journal.map(
            phase,
            self.places,
            work,
            batch_size=self.context.judging.batch_size,
            show=self.context.show_progress,
            **options,
        )

    def _request(self, place: Place) -> PictureRequest:
        seed = picture_seed(self.context.seed, *place)
        return PictureRequest(self.asked.texts[place.number], seed, picture_place(*place))

    def _judged(
        self, models: GenevalModels, batch: Sequence[Place], painted: list[Row], looked: Looked
    ) -> list[Row]:
        prompts, pictures = [], []
        for place, row, picture in zip(batch, painted, looked.pictures, strict=True):
            if row["state"] == "missing":
                continue
            if picture is None:
                raise EvaluationError(f"{self.out / row['image']} was painted and is gone")
            prompts.append(self.asked.prompts[place.number])
            pictures.append(picture)
        found = models.detector.objects(looked.output) if pictures else []
        evidence = iter(judge_objects(models.colors, pictures, found, prompts))
        return [
            self._sample(place, row, None if row["state"] == "missing" else next(evidence))
            for place, row in zip(batch, painted, strict=True)
        ]

    def _sample(self, place: Place, painted: Row, found: Evidence | None) -> Row:
        prompt = self.asked.prompts[place.number]
        evidence: dict[str, Any] = {"metadata": prompt.to_json()}
        sample = {
            "sample_id": f"{place.number:05d}-{place.image:04d}",
            "part": prompt.tag,
            "state": "missing",
            "score": None,
            "reason": painted["reason"],
            "prompt": self.asked.texts[place.number],
            "caption": "",
            "seed": picture_seed(self.context.seed, *place),
            "images": {},
            "evidence": evidence,
            "prompt_index": place.number,
            "image_index": place.image,
        }
        if found is not None:
            right = found.verdict.correct
            evidence["objects"] = [object_row(detection) for detection in found.objects]
            sample |= {
                "state": "scored" if right else "wrong",
                "score": float(right),
                "reason": "\n".join(found.verdict.reasons),
                "images": {"generated": painted["image"]},
            }
        return Sample.model_validate(sample).model_dump()


def _read(path: Path) -> Pixels | None:
    return read_png(path) if path.is_file() else None
