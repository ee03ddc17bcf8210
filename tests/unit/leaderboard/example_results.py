"""Result folders to show: small, with pictures, and with texts that try to be HTML."""

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from uae.evaluation.bootstrap import Interval, bootstrap_interval
from uae.evaluation.results import (
    Part,
    PromptSet,
    Result,
    Sample,
    count_states,
    write_results,
)

HOSTILE = '</script><script>window.hacked = 1</script><img src=x onerror="window.hacked=2">\'"&amp;'
GENEVAL_PARTS = ("single_object", "two_object", "counting", "colors", "position", "color_attr")
DETECTOR = {"kind": "mask2former", "sha256": "a" * 64}
COLORS = {"kind": "open_clip", "sha256": "b" * 64}
SLOT_KINDS = {"clip": "clip", "longclip": "open_clip", "dinov2": "dinov2", "dinov3": "dinov3_vit"}


def sha(text):
    return hashlib.sha256(text.encode()).hexdigest()


def draw(path, seed, size=128):
    """Paint a picture with a red and a blue shape in known places."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (size, size), tuple(int(c) for c in rng.integers(160, 250, 3)))
    pen = ImageDraw.Draw(image)
    pen.rectangle((size // 8, size // 8, size // 2, size // 2), fill="crimson")
    pen.ellipse((size // 2, size // 2, size - 8, size - 8), fill="royalblue")
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def make_sample(sample_id, score, **changes):
    values = {
        "sample_id": sample_id,
        "part": "",
        "state": "missing" if score is None else "scored" if score else "wrong",
        "score": score,
        "reason": "",
        "prompt": f"a photo of {sample_id}",
        "caption": "",
        "seed": 7,
        "images": {},
        "evidence": {},
    }
    return Sample(**values | changes)


def make_result(samples, name="Tiny", **changes):
    """Return a result that fits the samples: a plain mean, parts by their names."""
    scores = [sample.score for sample in samples]
    known = [score for score in scores if score is not None]
    open_ = len(scores) - len(known)
    parts = {}
    for part in dict.fromkeys(sample.part for sample in samples if sample.part):
        of_part = [s.score for s in samples if s.part == part and s.score is not None]
        if of_part:
            between = bootstrap_interval(of_part, 100, 0)
            parts[part] = Part(
                score=float(np.mean(of_part)), interval=between, num_samples=len(of_part)
            )
    values = {
        "benchmark": "geneval",
        "protocol": "geneval",
        "version": 2,
        "unit": "share",
        "score": None if open_ else float(np.mean(known)),
        "interval": None if open_ else bootstrap_interval(known, 100, 0),
        "bounds": Interval(sum(known) / len(scores), (sum(known) + open_) / len(scores))
        if open_
        else None,
        "num_samples": len(samples),
        "states": count_states(samples),
        "parts": parts,
        "metrics": {},
        "prompts": PromptSet(name="scenes", source="s", sha256=sha("scenes"), count=len(samples)),
        "system": {"name": name, "kind": "uae", "sha256": sha(name)},
        "generation": {"num_steps": 8},
        "judges": {"detector": DETECTOR, "colors": COLORS},
        "settings": {"images_per_prompt": 1},
        "self_test": {"accuracy": 0.98},
        "key": sha(name + str(changes)),
    }
    return Result(**values | changes)


def write_geneval(folder, name, right, *, kind="uae", num_samples=24, **changes):
    """Write a result in which about a share `right` of the pictures is right."""
    rng = np.random.default_rng(len(name))
    samples = []
    for number in range(num_samples):
        picture = f"images/{number:05d}/samples/0000.png"
        draw(folder / picture, number + len(name) * 100)
        score = float(rng.random() < right)
        objects = [
            {"class": "square", "score": 0.97, "box": [16, 16, 64, 64], "color": "red"},
            {"class": "ball", "score": 0.88, "box": [64, 64, 120, 120], "color": None},
        ]
        samples.append(
            make_sample(
                f"{number:05d}/0000",
                score,
                part=GENEVAL_PARTS[number * 6 // num_samples],
                prompt=f"a photo of a red square and a ball, number {number}",
                reason="" if score else "expected red square>=2, found 1",
                images={"generated": picture},
                evidence={"objects": objects, "metadata": {"tag": "colors", "include": [1, 2]}},
            )
        )
    system = {"name": name, "kind": kind, "sha256": sha(name)}
    result = make_result(samples, name, **{"system": system} | changes)
    write_results(folder, result, samples)
    return result


def write_dpg(folder, name, *, failing=0):
    """Write a result with trees of questions, of which the last samples have no verdict."""
    samples = []
    for number in range(8):
        draw(folder / f"images/{number}.png", number + 50, size=256)
        questions = [
            {
                "number": 1, "question": "Is there a square?", "tuple": "entity - whole (square)",
                "parents": [0], "p_yes": [0.98, 0.91, 0.4, 0.7],
                "answers": [True, True, False, True],
            },
            {
                "number": 2, "question": "Is the square red?", "tuple": "attribute - color",
                "parents": [1], "p_yes": [0.9, 0.2, 0.8, None],
                "answers": [True, False, False, None],
            },
            {
                "number": 3, "question": "Is the red square above the ball?", "tuple": "relation",
                "parents": [2, 1], "p_yes": [0.6, 0.7, 0.8, 0.9],
                "answers": [True, False, False, None],
            },
        ]  # fmt: skip
        fails = number >= 8 - failing
        samples.append(
            make_sample(
                str(number),
                None if fails else (number % 4) / 4 + 0.25,
                state="judge_error" if fails else "scored",
                part=("entity", "relation")[number % 2],
                reason="the server answers 503 after 5 attempts" if fails else "",
                prompt=f"A dense prompt about a red square above a blue ball, number {number}. "
                * 4,
                images={"grid": f"images/{number}.png"},
                evidence={"questions": questions},
            )
        )
    changes = {
        "benchmark": "dpg_bench",
        "protocol": "dpg-bench/fixed",
        "judges": {"vqa": {"kind": "vlm", "sha256": "c" * 64}},
    }
    result = make_result(samples, name, **changes)
    write_results(folder, result, samples)
    return result


def write_unified(folder, name, level, *, kind="composed", prompts="pictures", count=100):
    """Write a Unified-Bench result with captions and reconstructions."""
    samples = []
    for number in range(6):
        draw(folder / f"images/original/{number}.png", number, size=64)
        draw(folder / f"images/reconstruction/{number}.png", number + len(name), size=64)
        score = level + number
        samples.append(
            make_sample(
                f"image-{number}",
                score,
                prompt="",
                caption=f"A red square in the top left corner and a blue ball, number {number}.",
                images={
                    "original": f"images/original/{number}.png",
                    "reconstruction": f"images/reconstruction/{number}.png",
                },
                evidence={"scores": {"clip": score + 1.0, "dinov2": score - 1.0}},
            )
        )
    parts = {
        slot: Part(
            score=level + by, interval=Interval(level + by - 1, level + by + 1), num_samples=6
        )
        for slot, by in (("clip", 5.0), ("longclip", 8.0), ("dinov2", -3.0), ("dinov3", -8.0))
    }
    result = make_result(
        samples,
        name,
        benchmark="unified_bench",
        protocol="unified-bench",
        unit="points",
        parts=parts,
        prompts=PromptSet(name=prompts, source="s", sha256=sha(prompts), count=count),
        system={"name": name, "kind": kind, "sha256": sha(name)},
        judges={slot: {"kind": SLOT_KINDS[slot], "sha256": sha(slot)} for slot in parts},
        metrics={"caption_words": Part(score=14.5, interval=None, num_samples=6)},
    )
    write_results(folder, result, samples)
    return result


def write_hostile(folder):
    """Write a result all of whose texts try to leave their place."""
    draw(folder / "images/0.png", 1)
    evidence = {
        "objects": [{"class": HOSTILE, "score": 0.9, "box": [10, 10, 50, 50], "color": HOSTILE}],
        "questions": [
            {"number": 1, "question": HOSTILE, "parents": [1], "p_yes": [0.5], "answers": [True]}
        ],
        "reply": HOSTILE,
        "verdicts": [{"judge": HOSTILE, "order": "AB", "reply": HOSTILE, "choice": HOSTILE}],
        "words": {"asked": [HOSTILE, "OPEN"], "read": ["open", HOSTILE]},
        "facts": {HOSTILE: HOSTILE},
        "unknown": [HOSTILE],
    }  # fmt: skip
    samples = [
        make_sample(
            f"{number}-{HOSTILE}",
            float(number % 2),
            part=HOSTILE,
            prompt=HOSTILE,
            caption=HOSTILE,
            reason=HOSTILE,
            images={
                HOSTILE: "images/0.png",
                "generated": "images/0.png",
                "grid": "../../secret.png",
            },
            evidence=evidence,
        )
        for number in range(4)
    ]
    result = make_result(samples, HOSTILE, benchmark="text_fidelity", protocol=HOSTILE)
    write_results(folder, result, samples)
    return result


def write_examples(folder: Path) -> Path:
    """Write a set of results with every kind of table and evidence."""
    write_geneval(folder / "alpha" / "geneval", "Alpha", 0.8)
    write_geneval(folder / "beta" / "geneval", "Beta with a rather long name", 0.55, kind="janus")
    write_geneval(folder / "gamma" / "geneval", "Gamma", 0.3, kind="server")
    official = PromptSet(name="geneval", source="s", sha256=sha("geneval"), count=553)
    write_geneval(folder / "uae" / "geneval", "uae", 0.9, prompts=official, num_samples=120)
    write_dpg(folder / "alpha" / "dpg_bench", "Alpha")
    write_dpg(folder / "beta" / "dpg_bench", "Beta with a rather long name", failing=2)
    write_unified(folder / "bagel" / "unified_bench", "bagel", 83.0)
    write_unified(folder / "alpha" / "unified_bench", "Alpha", 71.0, kind="uae")
    write_hostile(folder / "hostile")
    return folder
