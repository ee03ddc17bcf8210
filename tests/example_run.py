"""A run folder as a run leaves it, finished or failed: made-up numbers on real starter scenes."""

import json
import random
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from PIL import Image, ImageFilter

from uae.data.facts import SceneFacts
from uae.data.starter.attributes import attribute_precision, attribute_recall, text_fidelity
from uae.data.starter.captions import complete_caption, terse_caption
from uae.data.starter.scenes import draw_scene, sample_facts
from uae.data.words import count_words
from uae.evaluation.results import Part, PromptSet, Result, Sample, write_results
from uae.export.gate import Check, Decision
from uae.export.run_folder import BENCH_STEPS, KNOWN_STEPS, TRAINED_STAGES
from uae.recipe_files import dump_recipe, load_recipe
from uae.records import StepRecord

SEEN = [
    "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white",
    "not found",
]  # fmt: skip
SLOTS = {"clip": "clip", "longclip": "longclip", "dinov2": "ssl", "dinov3": "efficientnet-lite0"}
TIMES = (1, 9, 61, 22, 34, 22, 191, 22, 118, 23, 26, 17, 2, 6)
SECONDS = dict(zip(KNOWN_STEPS, TIMES, strict=True))
START = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


def write_example_run(folder: Path, *, fails_at: str | None = None, num_samples: int = 16) -> Path:
    """Write a run folder; with `fails_at` that step failed and none after it was reached."""
    recipe = load_recipe("starter")
    done = KNOWN_STEPS[: KNOWN_STEPS.index(fails_at)] if fails_at else KNOWN_STEPS
    write_json(folder / "run.json", {
        "format": 1, "run_id": "example-1", "recipe_name": recipe.name,
        "status": "failed" if fails_at else "succeeded", "started_at": START.isoformat(),
        "wall_seconds": 601.5, "peak_memory_bytes": 3_400_000_000, "data": "starter",
        "environment": {"Python": "3.11.2", "torch": "2.15.0", "CPU": "2 cores", "System": "Linux"},
    })  # fmt: skip
    (folder / "recipe.yaml").write_text(dump_recipe(recipe), encoding="utf-8")
    clock = START
    for step in done:
        clock = _write_record(folder, step, clock)
        _write_artifacts(folder, step, num_samples)
    if fails_at:
        _write_record(folder, fails_at, clock, failed=True)
    return folder


def write_bench(folder: Path, stage: int, num_samples: int = 16) -> Path:
    """Write a Unified-Bench result; later stages say more and draw sharper."""
    rng = random.Random(7)
    rows = [_sample(folder, rng, index, stage) for index in range(num_samples)]
    means = {slot: _mean(row.evidence["scores"][slot] for row in rows) for slot in SLOTS}
    overall = _mean(means.values())
    measured = {
        name: [row.model_extra[name] for row in rows if row.model_extra[name] is not None]
        for name in ("caption_words", "attribute_recall", "attribute_precision", "text_fidelity")
    } | {"repetition": [0.01 * stage]}
    result = example_result(
        benchmark="unified_bench", protocol="unified-bench", unit="points", score=overall,
        interval=(overall - 1.1, overall + 1.2), num_samples=num_samples,
        parts={
            slot: Part(score=mean, interval=(mean - 1.5, mean + 1.4), num_samples=num_samples)
            for slot, mean in means.items()
        },
        metrics={
            name: Part(score=_mean(values) if values else None, num_samples=len(values))
            for name, values in measured.items()
        },
        judges={slot: {"kind": "open_clip", "sha256": scorer} for slot, scorer in SLOTS.items()},
        settings={"seed": 0, "slots": SLOTS},
        generation={"temperature": 0.0},
    )  # fmt: skip
    write_results(folder, result, rows)
    return folder


def example_result(*, num_samples: int, **values: Any) -> Result:
    """Return a result that is complete; keywords say what it holds."""
    plain = {
        "version": 2, "bounds": None, "num_samples": num_samples,
        "states": {"scored": num_samples, "wrong": 0, "judge_error": 0, "missing": 0},
        "parts": {}, "metrics": {}, "judges": {}, "generation": {}, "settings": {"seed": 0},
        "prompts": PromptSet(name="heldout", source="data", sha256="1" * 64, count=num_samples),
        "system": {"name": "UAE", "kind": "uae", "sha256": "2" * 64}, "self_test": None,
        "key": "3" * 64,
    }  # fmt: skip
    return Result.model_validate(plain | values)


def task_result(benchmark: str) -> dict[str, Any]:
    """Return the results.json of GenEval or DPG-Bench."""
    tasks = {"single_object": 0.95, "two_object": 0.71, "counting": 0.42, "colors": 0.88}
    result = example_result(
        benchmark=benchmark, protocol=benchmark, unit="share", score=0.74, interval=(0.69, 0.78),
        num_samples=48, prompts=PromptSet(name="scenes", source="starter", sha256="1", count=48),
        parts={name: Part(score=score, num_samples=12) for name, score in tasks.items()},
        classification={"colors": {"confusion": {"categories": SEEN, "matrix": [
            [7 * (row == column) + (row < column) for column in range(len(SEEN))]
            for row in range(len(SEEN))
        ]}}},
    )  # fmt: skip
    return result.model_dump(mode="json")


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def _sample(folder: Path, rng: random.Random, index: int, stage: int) -> Sample:
    facts = sample_facts(rng)
    terse = terse_caption(facts, rng)
    caption = (terse, terse, complete_caption(facts), complete_caption(facts))[stage]
    original = draw_scene(facts)
    drawn = SceneFacts(
        facts.objects[: 1 + index % 2] if stage < 2 else facts.objects, facts.background, facts.word
    )
    blurred = draw_scene(drawn).filter(ImageFilter.GaussianBlur((1.6, 1.3, 1.0, 0.5)[stage]))
    _save(original, folder / "images" / "original" / f"scene-{index:03d}.png")
    _save(blurred, folder / "images" / "reconstruction" / f"scene-{index:03d}.png")
    base = 70 + 4 * stage + 6 * random.Random(10 * index + stage).random()
    scores = {slot: base + 3 * number for number, slot in enumerate(SLOTS)}
    return Sample.model_validate({
        "sample_id": f"scene-{index:03d}", "part": "", "state": "scored", "reason": "",
        "score": _mean(scores.values()), "prompt": "", "caption": caption, "seed": index,
        "images": {
            "original": f"images/original/scene-{index:03d}.png",
            "reconstruction": f"images/reconstruction/scene-{index:03d}.png",
        },
        "evidence": {"scores": scores, "facts": facts.to_json()},
        "overall": _mean(scores.values()),
        **{f"slots/{slot}": score for slot, score in scores.items()},
        "caption_words": float(count_words(caption)),
        "attribute_recall": attribute_recall(caption, facts),
        "attribute_precision": attribute_precision(caption, facts),
        "text_fidelity": text_fidelity(caption, facts),
    })  # fmt: skip


def _write_record(folder: Path, step: str, clock: datetime, *, failed: bool = False) -> datetime:
    seconds = SECONDS[step]
    end = clock + timedelta(seconds=seconds)
    record = StepRecord(
        step, "0" * 64, "job", clock.isoformat(), status="failed" if failed else "succeeded",
        ended_at=end.isoformat(), seconds=seconds, import_seconds=min(4.0, seconds / 3),
        peak_memory_bytes=1_900_000_000, log_tail=[f"update {n} of 60" for n in range(51, 61)],
    )  # fmt: skip
    if failed:
        message = "the first ratio after a rollout is 1.31, not 1: <tolerance 0.0001>"
        record.error = {"type": "TrainingError", "message": message, "retryable": False}
    write_json(folder / "steps" / f"{step}.json", asdict(record))
    return end


def _write_artifacts(folder: Path, step: str, num_samples: int) -> None:
    place = folder / "artifacts" / step
    if step in TRAINED_STAGES:
        _write_curves(
            place / "logs" / "metrics.jsonl", reinforced=step.endswith("ing") or "for" in step
        )
    elif step in BENCH_STEPS:
        write_bench(place / "results", BENCH_STEPS.index(step), num_samples)
    elif step in ("evaluate_geneval", "evaluate_dpg_bench"):
        write_json(place / "results" / "results.json", task_result(step.removeprefix("evaluate_")))
    elif step == "gate":
        checks = (Check(True, "overall 81.22, required 0.00"), Check(True, "text fidelity kept"))
        Decision(checks).write(place / "decision")
    elif step == "validate_data":
        counts = {"train": 3000, "heldout": 64, "benchmark": 72}
        write_json(place / "data" / "data.json", {
            "format": 1, "revision": "5f2c" * 16, "counts": counts, "has_facts": True,
            "source": "starter",
            "licences": {"MIT": 3136}, "caption_words": {str(n): 200 - 5 * n for n in range(2, 37)},
        })  # fmt: skip


def _write_curves(path: Path, *, reinforced: bool) -> None:
    rng = random.Random(3)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as stream:
        for step in range(60):
            rise = 1 - 0.95**step
            row = {"step": step, "loss": 0.4 - 0.2 * rise + 0.03 * rng.random(),
                   "grad_norm": 1 + rng.random(),
                   "learning_rate": 1e-4 * min(1, step / 5)}  # fmt: skip
            if reinforced:
                row |= {"reward/mean": 0.7 + 0.12 * rise + 0.02 * rng.random(), "kl": 0.02 * rise,
                        "caption_words": 6 + 14 * rise + rng.random(), "entropy": 1.4 - 0.5 * rise,
                        "clip_share": 0.1 * rng.random(), "reward/std": 0.04 + 0.01 * rng.random(),
                        "ratio/mean": 1 + 1e-3 * rng.random()}  # fmt: skip
                if step % 10 == 0:
                    row["set_aside/reward"] = 0.7 + 0.1 * rise
            stream.write(json.dumps(row) + "\n")


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def _mean(values: object) -> float:
    numbers = [float(value) for value in values]  # type: ignore[attr-defined]
    return sum(numbers) / len(numbers)
