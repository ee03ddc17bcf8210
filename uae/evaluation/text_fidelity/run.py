"""Text fidelity: does a system paint the words that it is asked for, and quote those it sees?

Painting: a prompt's words stand in double quotes; OCR reads the picture, and the score is the share
of words that were read, mean over prompts. Transcription: the system captions a picture in which
the same words surely stand (the scene, or the words drawn with a font); what the caption quotes is
compared with them. The reader's own limit, its score on those known pictures, is the metric
`ocr_ceiling`: no painting can be expected to score higher.

A system that only paints has no transcription. One that only writes is judged by its transcription
alone, under a protocol of its own, so that the two are never compared.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from uae.data.starter.attributes import quoted_texts
from uae.errors import EvaluationError
from uae.evaluation.context import Context
from uae.evaluation.journal import Journal, Row, Unfinished
from uae.evaluation.painting import IMAGES, image_path, paint
from uae.evaluation.pictures import read_png, write_png
from uae.evaluation.results import Result, Sample, count_states, write_results
from uae.evaluation.scoring import mean_part, score_or_bounds
from uae.evaluation.systems.base import CaptionRequest, Failure, PictureRequest, System
from uae.evaluation.systems.requirements import require
from uae.evaluation.text_fidelity.prompts import TextPrompt, load_prompts
from uae.evaluation.text_fidelity.reading import (
    PictureReader,
    Reader,
    check_reader,
    reader_identity,
)
from uae.evaluation.text_fidelity.words import edit_similarity, same_words, word_accuracy
from uae.recipe import TextFidelityRecipe
from uae.seeds import derive_seed

BENCHMARK = "text_fidelity"
PROTOCOL = "text-fidelity"
TRANSCRIPTION_ONLY = "text-fidelity/transcription"
VERSION = 1
METRICS = (
    "edit_similarity", "exact_match", "transcription", "transcription_exact", "ocr_ceiling",
    "ocr_ceiling_exact",
)  # fmt: skip


class Unit(NamedTuple):
    """A prompt, to paint and to transcribe."""

    number: int
    prompt: TextPrompt
    seed: int  # of the picture

    @property
    def place(self) -> str:
        """Where the painted picture belongs."""
        return f"{BENCHMARK}/{self.prompt.prompt_id}.png"

    @property
    def known(self) -> str:
        """Where the picture whose text is known stands in the result folder."""
        return f"{IMAGES}/known/{self.prompt.prompt_id}.png"


def run(settings: TextFidelityRecipe, context: Context, system: System, out: Path) -> Result:
    """Judge a system that paints, writes captions, or both.

    Args:
        settings: Which prompts, and how far pictures are enlarged before they are read.
        context: Seed, data, batch size.
        system: What it cannot do is not measured.
        out: Receives results.json, samples.parquet and images/.

    Raises:
        EvaluationError: If the prompts are wrong, the reader fails its self-test, or the folder
            belongs to another evaluation.
        ModelError: If RapidOCR is not installed.
        Unfinished: While other shards have work to do.
    """
    return evaluate(settings, context, system, out, PictureReader)


def evaluate(
    settings: TextFidelityRecipe,
    context: Context,
    system: System,
    out: Path,
    load_reader: Callable[[int], Reader],
) -> Result:
    """Do `run` with any reader, loaded only if the system paints."""
    prompts, prompt_set = load_prompts(settings, context)
    units = [
        Unit(number, prompt, derive_seed(context.seed, PROTOCOL, prompt.prompt_id))
        for number, prompt in enumerate(prompts)
    ]
    paints = _check_system(system, units)
    stamps = _stamps(settings, context, system, paints)
    decides = stamps | {"prompts": prompt_set.model_dump(exclude={"source"})}
    journal = Journal.open(out, decides, context.shard, retry_failures=context.retry_failures)
    if done := journal.result():
        return done
    reader = load_reader(settings.upscale_to) if paints else None
    check = None if reader is None else _self_test(journal, reader, prompts, context)
    answers = _answers(journal, units, context, system)
    system.close()
    readings = _readings(journal, units, context, reader)
    if answers is None or readings is None:
        raise Unfinished(f"{BENCHMARK}: other shards have prompts to do")
    rows = zip(units, answers, readings, strict=True)
    samples = [_sample(*row, paints=paints) for row in rows]
    scores = _scores(samples, context)
    stamps |= {"prompts": prompt_set, "self_test": check, "key": journal.key}
    result = write_results(out, Result(**stamps, **scores), samples)
    journal.close()
    return result


def _self_test(
    journal: Journal, reader: Reader, prompts: Sequence[TextPrompt], context: Context
) -> Row:
    minimum = context.judging.min_self_test_accuracy
    return journal.once("self_test", lambda: check_reader(reader, prompts, minimum))


def _check_system(system: System, units: Sequence[Unit]) -> bool:
    """Return whether it paints; refuse one that can do nothing here."""
    if system.capabilities.pictures:
        require(system, BENCHMARK, pictures=True, places=[unit.place for unit in units])
        return True
    require(system, BENCHMARK, captions=True)
    undrawable = [unit.prompt.text for unit in units if unit.prompt.known_picture is None]
    if undrawable:
        raise EvaluationError(
            f"{BENCHMARK}: {system.identity['name']!r} only writes, and {len(undrawable)} prompts "
            f"have characters that no font at hand draws, so there is no picture to transcribe: "
            f"{undrawable[:5]}; leave them out"
        )
    return False


def _stamps(
    settings: TextFidelityRecipe, context: Context, system: System, paints: bool
) -> dict[str, Any]:
    """Return what decides the numbers beside the prompts; no paths of this machine."""
    return {
        "benchmark": BENCHMARK,
        "protocol": PROTOCOL if paints else TRANSCRIPTION_ONLY,
        "version": VERSION,
        "system": system.identity,
        "generation": system.settings,
        "judges": {"reader": reader_identity(settings.upscale_to)} if paints else {},
        "settings": {
            "num_prompts": settings.num_prompts,
            "upscale_to": settings.upscale_to,
            **context.deciding,
        },
    }


def _answers(
    journal: Journal, units: Sequence[Unit], context: Context, system: System
) -> list[Row] | None:
    """Paint and transcribe; rows {"painted", "caption", "state", "reason"}."""
    seed = derive_seed(context.seed, PROTOCOL, "captions")

    def work(batch: Sequence[Unit], _: list[Row]) -> list[Row]:
        requests = []
        for unit in batch:
            if unit.prompt.known_picture is not None:
                picture = unit.prompt.known_picture()
                write_png(picture, journal.out / unit.known)
                place = f"{BENCHMARK}/{unit.prompt.prompt_id}"
                requests.append(CaptionRequest(picture, seed + unit.number, place))
        writes = system.capabilities.captions
        captions = iter(system.caption(requests) if writes and requests else [])
        asked = [PictureRequest(unit.prompt.text, unit.seed, unit.place) for unit in batch]
        painted = iter(paint(system, asked, journal.out) if system.capabilities.pictures else [])
        return [_answer(unit, next(painted, None), captions, writes=writes) for unit in batch]

    return journal.map(
        "answers",
        units,
        work,
        batch_size=context.judging.batch_size,
        show=context.show_progress,
    )


def _answer(
    unit: Unit, painted: Row | None, captions: Iterator[str | Failure], *, writes: bool
) -> Row:
    """Return one row; missing if anything that was asked for is."""
    asked_to_write = writes and unit.prompt.known_picture is not None
    caption = next(captions) if asked_to_write else None
    failed = painted is not None and painted["state"] == "missing"
    reasons = [f"no picture: {painted['reason']}"] if painted is not None and failed else []
    if isinstance(caption, Failure):
        reasons.append(f"no caption: {caption.reason}")
    return {
        "painted": painted is not None and not failed,
        "caption": None if isinstance(caption, Failure) else caption,
        "state": "missing" if reasons else "answered",
        "reason": "; ".join(reasons),
    }


def _readings(
    journal: Journal, units: Sequence[Unit], context: Context, reader: Reader | None
) -> list[Row] | None:
    """Read the painted picture and the known one; rows {"read", "known"}, None where not there."""

    def read(path: str, there: bool) -> list[str] | None:
        return reader.read(read_png(journal.out / path)) if reader is not None and there else None

    def work(batch: Sequence[Unit], answers: list[Row]) -> list[Row]:
        return [
            {
                "read": read(image_path(unit.place), answer["painted"]),
                "known": read(unit.known, unit.prompt.known_picture is not None),
            }
            for unit, answer in zip(batch, answers, strict=True)
        ]

    return journal.map(
        "read",
        units,
        work,
        batch_size=context.judging.batch_size,
        after="answers",
        show=context.show_progress,
    )


def _sample(unit: Unit, answer: Row, reading: Row, *, paints: bool) -> Sample:
    asked, read, known = unit.prompt.asked, reading["read"], reading["known"]
    quoted = None if answer["caption"] is None else quoted_texts(answer["caption"])
    transcription = None if quoted is None else word_accuracy(asked, quoted)
    columns = {
        "edit_similarity": None if read is None else edit_similarity(asked, read),
        "exact_match": None if read is None else float(same_words(asked, read)),
        "transcription": transcription,
        # Case counts here: a caption's letters are its own, not an OCR's.
        "transcription_exact": None if quoted is None else float(sorted(quoted) == sorted(asked)),
        "ocr_ceiling": None if known is None else word_accuracy(asked, known),
        "ocr_ceiling_exact": None if known is None else float(same_words(asked, known)),
    }
    missing = answer["state"] == "missing"
    painted = None if read is None else word_accuracy(asked, read)
    images = {"generated": image_path(unit.place)} if answer["painted"] else {}
    images |= {"original": unit.known} if unit.prompt.known_picture is not None else {}
    return Sample(
        sample_id=unit.prompt.prompt_id,
        part="",
        state="missing" if missing else "scored",
        score=None if missing else painted if paints else transcription,
        reason=answer["reason"],
        prompt=unit.prompt.text,
        caption=answer["caption"] or "",
        seed=unit.seed,
        images=images,
        evidence={
            "words": {"asked": list(asked), "read": read if paints else quoted},
            "metadata": dict(unit.prompt.metadata),
        },
        **columns,
    )


def _scores(samples: Sequence[Sample], context: Context) -> dict[str, Any]:
    resamples = context.judging.bootstrap_resamples
    seed = derive_seed(context.seed, PROTOCOL, "bootstrap")
    values = [sample.score for sample in samples]
    found = score_or_bounds(values, lambda known: float(np.mean(known)))
    columns = [sample.model_extra or {} for sample in samples]
    complete = found.score is not None
    return {
        "unit": "share",
        "score": found.score,
        "interval": mean_part(values, resamples, seed).interval if complete else None,
        "bounds": found.bounds,
        "num_samples": len(samples),
        "states": count_states(samples),
        "parts": {},
        "metrics": {
            name: mean_part([row[name] for row in columns], resamples, seed) for name in METRICS
        },
    }
