"""Soft-TIFA: from the probabilities of right answers to scores.

Source: Kamath et al., "GenEval 2: Addressing Benchmark Drift in Text-to-Image Evaluation",
arXiv:2512.16853, and its scripts evaluation.py and soft_tifa_analysis.py. Per prompt AM is the
arithmetic and GM the geometric mean over its questions; the benchmark's is the mean over prompts.
GM estimates whether a whole prompt is right, AM how many of its atoms are. Skills are scored over
all atoms of the benchmark (AM), atomicities over prompts (GM). The scripts show shares times 100.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from uae.evaluation.bootstrap import bootstrap_interval
from uae.evaluation.context import Context
from uae.evaluation.geneval_2.prompts import SKILLS
from uae.evaluation.results import Sample, count_states
from uae.evaluation.scoring import mean_part, pooled_part, score_or_bounds
from uae.seeds import derive_seed


def arithmetic_mean(probabilities: Sequence[float]) -> float:
    """Return Soft-TIFA AM of one prompt."""
    return math.fsum(probabilities) / len(probabilities)


def geometric_mean(probabilities: Sequence[float]) -> float:
    """Return Soft-TIFA GM of one prompt; 0 where one answer has no probability at all."""
    if min(probabilities) == 0:
        return 0.0
    return math.exp(math.fsum(map(math.log, probabilities)) / len(probabilities))


def summarise(samples: Sequence[Sample], context: Context, *, protocol: str) -> dict[str, Any]:
    """Return score, intervals, parts and metrics; prompts are what is resampled."""
    seed = derive_seed(context.seed, protocol, "bootstrap")
    resamples = context.judging.bootstrap_resamples
    values = [sample.score for sample in samples]
    known = [value for value in values if value is not None]
    score, bounds = score_or_bounds(values, lambda scores: float(np.mean(scores)))
    judged = [sample for sample in samples if sample.score is not None]
    return {
        "score": score,
        "interval": None if score is None else bootstrap_interval(known, resamples, seed),
        "bounds": bounds,
        "num_samples": len(samples),
        "states": count_states(samples),
        "parts": {
            part: mean_part([s.score for s in samples if s.part == part], resamples, seed)
            for part in sorted({sample.part for sample in samples}, key=int)
        },
        "metrics": {
            "soft_tifa_am": mean_part([_am(sample) for sample in samples], resamples, seed),
            **{
                f"skill_{skill}": pooled_part(
                    [_atoms_of(sample, skill) for sample in judged], resamples, seed
                )
                for skill in SKILLS
            },
        },
    }


def _am(sample: Sample) -> float | None:
    value: float | None = (sample.model_extra or {})["soft_tifa_am"]
    return value


def _atoms_of(sample: Sample, skill: str) -> list[float]:
    questions = sample.evidence["questions"]
    return [question["p_yes"][0] for question in questions if question["tuple"] == skill]
