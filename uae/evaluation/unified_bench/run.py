"""Unified-Bench: caption a picture, paint it again from the caption alone, compare.

Score of a slot = mean cosine x 100 between a scorer's features of original and reconstruction;
overall = arithmetic mean of the slots. The published script drops failed pictures from the mean:
here they are "missing", there is no score while there are any, and bounds say where it must lie.
A caption too long for the system's own decoder is truncated: what is beyond is lost to it. Nothing
is cropped or resized but by each scorer's own preprocessing: of a picture that is not square a
scorer that crops sees the central square, the others see it squeezed.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from uae.evaluation.context import Context
from uae.evaluation.journal import Journal, Row, Unfinished
from uae.evaluation.painting import IMAGES, image_path, paint
from uae.evaluation.pictures import write_png
from uae.evaluation.results import Result, Sample, write_results
from uae.evaluation.systems.base import CaptionRequest, Failure, PictureRequest, System
from uae.evaluation.systems.requirements import require
from uae.evaluation.unified_bench.features import FeatureReader
from uae.evaluation.unified_bench.originals import Original, load_originals
from uae.evaluation.unified_bench.scorers import SlotScorer, load_scorer_slot, scorer_identity
from uae.evaluation.unified_bench.self_test import check_scorers
from uae.evaluation.unified_bench.summary import (
    make_result,
    measure_caption,
    overall_points,
    slot_columns,
)
from uae.fingerprints import json_sha256
from uae.recipe import UnifiedBenchRecipe
from uae.recipe.base import scorer_name
from uae.seeds import derive_seed

BENCHMARK = "unified_bench"
PROTOCOL = "unified-bench"
VERSION = 2
ROLES = ("original", "reconstruction")


class Trip(NamedTuple):
    """One picture's way to a caption and back."""

    number: int  # position among all
    original: Original
    seed: int  # of the reconstruction's noise

    @property
    def place(self) -> str:
        """Where the reconstruction belongs."""
        return f"{BENCHMARK}/reconstruction/{self.original.image_id}.png"

    @property
    def images(self) -> dict[str, str]:
        """Both pictures' places in the result folder."""
        original = f"{IMAGES}/original/{self.original.image_id}.png"
        return {"original": original, "reconstruction": image_path(self.place)}


def run(settings: UnifiedBenchRecipe, context: Context, system: System, out: Path) -> Result:
    """Judge a system.

    Args:
        settings: Which pictures, how many, and which scorers.
        context: Seed, weights, data.
        system: Must write captions and paint.
        out: Receives results.json, samples.parquet and images/.

    Raises:
        EvaluationError: If there is no picture, one is broken, a scorer fails its self-test or
            gives no finite feature, or the folder belongs to another evaluation.
        ModelError: If a scorer cannot be loaded.
        Unfinished: While other shards have work to do.
    """
    originals, prompts = load_originals(settings, context)
    trips = [
        Trip(number, original, derive_seed(context.seed, PROTOCOL, original.image_id))
        for number, original in enumerate(originals)
    ]
    places = [trip.place for trip in trips]
    require(system, BENCHMARK, captions=True, pictures=True, places=places)
    stamps = _stamps(settings, context, system)
    facts = [o.facts.to_json() if o.facts else None for o in originals]  # captions' measure
    decides = stamps | {
        "prompts": prompts.model_dump(exclude={"source"}),
        "facts": json_sha256(facts),
    }
    journal = Journal.open(out, decides, context.shard, retry_failures=context.retry_failures)
    if done := journal.result():
        return done
    scorers = {
        slot: load_scorer_slot(name, context.weights, device=context.device)
        for slot, name in settings.slots.items()
    }
    check = journal.once("self_test", lambda: check_scorers(scorers, context))
    painted = _round_trips(journal, trips, context, system)
    system.close()
    scored = _compare(journal, trips, context, scorers)
    if painted is None or scored is None:
        raise Unfinished(f"{BENCHMARK}: other shards have pictures to do")
    slots = [*settings.slots]
    samples = [_sample(*row, slots) for row in zip(trips, painted, scored, strict=True)]
    stamps |= {"prompts": prompts, "self_test": check, "key": journal.key}
    result = make_result(
        samples,
        slots,
        resamples=context.judging.bootstrap_resamples,
        seed=derive_seed(context.seed, PROTOCOL, "bootstrap"),
        **stamps,
    )
    write_results(out, result, samples)
    journal.close()
    return result


def _stamps(settings: UnifiedBenchRecipe, context: Context, system: System) -> dict[str, Any]:
    """Return what decides the numbers beside the pictures; no paths of this machine."""
    slots = settings.slots
    return {
        "benchmark": BENCHMARK,
        "protocol": PROTOCOL,
        "version": VERSION,
        "system": system.identity,
        "generation": system.settings,
        "judges": {slot: scorer_identity(name, context.weights) for slot, name in slots.items()},
        "settings": {
            "num_samples": settings.num_samples,
            "slots": {slot: scorer_name(name) for slot, name in slots.items()},
            **context.deciding,
        },
    }


def _round_trips(
    journal: Journal, trips: Sequence[Trip], context: Context, system: System
) -> list[Row] | None:
    """Caption and paint again; rows {"caption", "state", "reason"}."""
    seed = derive_seed(context.seed, PROTOCOL, "captions")

    def work(batch: Sequence[Trip], _: list[Row]) -> list[Row]:
        requests = []
        for trip in batch:
            picture = trip.original.picture()
            write_png(picture, journal.out / trip.images["original"])
            place = f"{BENCHMARK}/{trip.original.image_id}"
            requests.append(CaptionRequest(picture, seed + trip.number, place))
        captions = system.caption(requests)
        asked = [
            PictureRequest(caption, trip.seed, trip.place, overlong="truncate")
            for trip, caption in zip(batch, captions, strict=True)
            if not isinstance(caption, Failure)
        ]
        painted = iter(paint(system, asked, journal.out) if asked else [])
        return [_trip_row(caption, painted) for caption in captions]

    return journal.map(
        "round_trips",
        trips,
        work,
        batch_size=context.judging.batch_size,
        show=context.show_progress,
    )


def _trip_row(caption: str | Failure, painted: Iterator[Row]) -> Row:
    if isinstance(caption, Failure):
        return {"caption": None, "state": "missing", "reason": f"no caption: {caption.reason}"}
    row = next(painted)
    return {"caption": caption, "state": row["state"], "reason": row["reason"]}


def _compare(
    journal: Journal, trips: Sequence[Trip], context: Context, scorers: Mapping[str, SlotScorer]
) -> list[Row] | None:
    """Compare originals with reconstructions; rows slot -> cosine, empty for a missing one."""
    size = context.judging.batch_size

    def work(batch: Sequence[Trip], rows: list[Row]) -> list[Row]:
        there = [trip for trip, row in zip(batch, rows, strict=True) if _is_painted(row)]
        start = batch[0].number + size * journal.shard.count  # of this shard's next batch
        following = _files(trips[start : start + size], journal.out)
        ready = [path for group in following for path in group if path.is_file()]
        cosines = iter(_cosines(reader, _files(there, journal.out), ready) if there else [])
        return [next(cosines) if _is_painted(row) else {} for row in rows]

    with FeatureReader(scorers, size) as reader:
        return journal.map(
            "scored",
            trips,
            work,
            batch_size=size,
            after="round_trips",
            show=context.show_progress,
        )


def _cosines(
    reader: FeatureReader, files: Sequence[Sequence[Path]], upcoming: Sequence[Path]
) -> list[dict[str, float]]:
    """Return, for each pair of pictures, slot -> cosine."""
    columns = {
        slot: (before_BD * after_BD).sum(dim=1).double().tolist()
        for slot, (before_BD, after_BD) in reader.features(files, upcoming).items()
    }
    return [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]


def _files(trips: Sequence[Trip], out: Path) -> list[list[Path]]:
    """Return the originals' files and the reconstructions'."""
    return [[out / trip.images[role] for trip in trips] for role in ROLES]


def _is_painted(row: Row) -> bool:
    return bool(row["state"] == "painted")


def _sample(trip: Trip, painted: Row, cosines: Row, slots: Sequence[str]) -> Sample:
    there, facts = _is_painted(painted), trip.original.facts
    columns = slot_columns(cosines, slots)
    evidence = {
        "scores": {slot: columns[f"slots/{slot}"] for slot in slots} if there else {},
        "facts": None if facts is None else facts.to_json(),
    }
    return Sample(
        sample_id=trip.original.image_id,
        part="",
        state="scored" if there else "missing",
        score=overall_points(cosines),
        reason=painted["reason"],
        prompt="",
        caption=painted["caption"] or "",
        seed=trip.seed,
        images=trip.images if there else {"original": trip.images["original"]},
        evidence=evidence,
        **columns,
        **measure_caption(painted["caption"], facts),
    )
