"""Two systems on the same samples: by how much they differ, and whether by more than chance.

Samples are paired by id. What is drawn again, or changes its sign, is the prompt: several pictures
of one prompt are not independent. The difference is that of the two scores, so for GenEval, whose
score is the mean of its tasks' means, every task has the same weight.

Intervals are percentile bootstrap. p-values are of the paired sign-flip (permutation) test, two
sided: under the null hypothesis each difference might as well have had the other sign. All
2^n sign patterns are counted where they are few, else drawn ones, with the observed one among them
(Phipson and Smyth, "Permutation p-values should never be zero", 2010).
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from uae.errors import EvaluationError
from uae.evaluation.bootstrap import Interval, group_mean_interval
from uae.evaluation.results import Result, Sample, check_comparable, read_result, read_samples

MAX_EXACT = 14  # pairs; all 2^14 sign patterns are counted
NUM_DRAWN = 9_999  # sign patterns, where there are more pairs
MEAN_OF_PARTS = frozenset({"geneval", "geneval_plus"})  # their score is the mean of their parts
_TOLERANCE = 1e-6  # of a recomputed score, relative to the unit
_CHUNK = 256  # sign patterns at a time
_SHOWN = 20

Floats = NDArray[np.float64]


class Comparison(BaseModel):
    """System b against system a; a difference above 0 means that b is better."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    benchmark: str
    protocol: str
    unit: Literal["share", "points"]
    a: dict[str, str]  # identity of the system
    b: dict[str, str]
    score_a: float  # over the compared samples
    score_b: float
    difference: float  # score_b - score_a
    interval: Interval  # of the difference, 95 %
    p_value: float  # two-sided paired sign-flip test
    test: Literal["sign-flip, exact", "sign-flip, drawn"]
    num_samples: int
    num_pairs: int  # prompts: what is counted below, resampled and flipped
    better: int  # prompts on which b scores higher
    worse: int
    equal: int
    excluded: list[
        str
    ]  # sample ids that were left out because they were named, or by the protocol in both


class _Pair(BaseModel):
    part: str
    prompt: str  # what is drawn again as a whole
    a: float
    b: float


def compare_folders(
    a: Path, b: Path, *, resamples: int, seed: int, exclude: Collection[str] = ()
) -> Comparison:
    """Compare the results in two folders; see `compare`."""
    return compare(
        read_result(a),
        read_result(b),
        read_samples(a),
        read_samples(b),
        resamples=resamples,
        seed=seed,
        exclude=exclude,
    )


def compare(
    a: Result,
    b: Result,
    samples_a: Sequence[Sample],
    samples_b: Sequence[Sample],
    *,
    resamples: int,
    seed: int,
    exclude: Collection[str] = (),
) -> Comparison:
    """Compare two results of one protocol, by the same judges, on the same prompts.

    Args:
        a: The result to compare with.
        b: The result that is better where the difference is above 0.
        samples_a: All samples of a.
        samples_b: All samples of b.
        resamples: Of the bootstrap.
        seed: Of the bootstrap and of the drawn signs.
        exclude: Ids of samples to leave out; must be in both.

    Raises:
        EvaluationError: If the results are not comparable, are about different samples, a sample
            has no verdict and is not excluded, nothing is left, or a score is not made of its
            samples as this module computes it.
    """
    check_comparable(a, b)
    exclude = {*exclude, *(_dropped(samples_a) & _dropped(samples_b))}
    pairs = _paired(samples_a, samples_b, exclude)
    by_part = a.benchmark in MEAN_OF_PARTS
    sides = [_score(pairs, side, by_part=by_part) for side in ("a", "b")]
    if not exclude:
        for result, found in zip((a, b), sides, strict=True):
            _check_score(result, found)
    groups = _prompt_differences(pairs, by_part=by_part)
    shares = [group / (len(group) * len(groups)) for group in groups]
    every = np.concatenate(groups)
    p_value, test = sign_flip_test(np.concatenate(shares), seed=seed)
    return Comparison(
        benchmark=a.benchmark,
        protocol=a.protocol,
        unit=a.unit,
        a=a.system,
        b=b.system,
        score_a=sides[0],
        score_b=sides[1],
        difference=sides[1] - sides[0],
        interval=group_mean_interval(groups, resamples, seed),
        p_value=p_value,
        test=test,
        num_samples=len(pairs),
        num_pairs=len(every),
        better=int((every > 0).sum()),
        worse=int((every < 0).sum()),
        equal=int((every == 0).sum()),
        excluded=sorted(exclude),
    )


def sign_flip_test(
    contributions: Floats, *, seed: int
) -> tuple[float, Literal["sign-flip, exact", "sign-flip, drawn"]]:
    """Return the two-sided p-value of a sum of signed contributions (n,), and how it was found.

    Raises:
        ValueError: If there is none, or one is not finite.
    """
    if contributions.ndim != 1 or not contributions.size or not np.isfinite(contributions).all():
        raise ValueError(f"contributions must be finite and (n,), got {contributions!r}")
    moving = contributions[contributions != 0]  # the others change no sum
    # Sums in another order differ in their last bits, and ties must count.
    observed = abs(moving.sum()) - 1e-9 * np.abs(moving).sum()
    if len(moving) <= MAX_EXACT:
        codes = np.arange(2 ** len(moving))[:, None] >> np.arange(len(moving))
        sums = (1 - 2 * (codes & 1)) @ moving
        return float((np.abs(sums) >= observed).mean()), "sign-flip, exact"
    as_far = 1 + sum(
        int((np.abs(signs @ moving) >= observed).sum()) for signs in _drawn_signs(len(moving), seed)
    )
    return as_far / (NUM_DRAWN + 1), "sign-flip, drawn"


def _drawn_signs(num_pairs: int, seed: int) -> Iterator[Floats]:
    rng = np.random.default_rng(seed)
    for start in range(0, NUM_DRAWN, _CHUNK):
        rows = min(_CHUNK, NUM_DRAWN - start)
        yield rng.choice([-1.0, 1.0], size=(rows, num_pairs))


def _dropped(samples: Sequence[Sample]) -> set[str]:
    """Return the samples that the protocol itself leaves out of the score."""
    return {sample.sample_id for sample in samples if sample.state == "dropped"}


def _paired(
    samples_a: Sequence[Sample], samples_b: Sequence[Sample], exclude: set[str]
) -> list[_Pair]:
    """Pair by id, in the order of a.

    Raises:
        EvaluationError: Naming the ids that only one has, or that have no verdict.
    """
    rows_a, rows_b = ({row.sample_id: row for row in rows} for rows in (samples_a, samples_b))
    odd = sorted(rows_a.keys() ^ rows_b.keys())
    if odd:
        raise EvaluationError(f"{len(odd)} samples are in one result only: {_some(odd)}")
    unknown = sorted(exclude - rows_a.keys())
    if unknown:
        raise EvaluationError(f"no such samples to exclude: {_some(unknown)}")
    pairs = {key: (row, rows_b[key]) for key, row in rows_a.items() if key not in exclude}
    open_ones = [key for key, pair in pairs.items() if any(row.score is None for row in pair)]
    if open_ones:
        raise EvaluationError(
            f"{len(open_ones)} samples have no verdict in one of the results: {_some(open_ones)}; "
            "do them again, or exclude them by name from both"
        )
    if not pairs:
        raise EvaluationError("no sample is left to compare")
    return [_pair(one, other) for one, other in pairs.values()]


def _pair(a: Sample, b: Sample) -> _Pair:
    if (a.part, a.prompt) != (b.part, b.prompt):
        raise EvaluationError(
            f"sample {a.sample_id}: {a.part!r}, {a.prompt!r} in one result, {b.part!r}, "
            f"{b.prompt!r} in the other"
        )
    assert a.score is not None
    assert b.score is not None
    # Without a prompt of its own (Unified-Bench's is the caption) a sample stands for itself.
    return _Pair(part=a.part, prompt=a.prompt or f"\0{a.sample_id}", a=a.score, b=b.score)


def _score(pairs: Sequence[_Pair], side: Literal["a", "b"], *, by_part: bool) -> float:
    parts = defaultdict(list)
    for pair in pairs:
        parts[pair.part if by_part else ""].append(pair.a if side == "a" else pair.b)
    return float(np.mean([np.mean(values) for values in parts.values()]))


def _check_score(result: Result, found: float) -> None:
    size = 100 if result.unit == "points" else 1
    if result.score is None or abs(result.score - found) > _TOLERANCE * size:
        raise EvaluationError(
            f"{result.benchmark} of {result.system.get('name')!r} has score {result.score}, but "
            f"its samples give {found}: by protocol {result.protocol!r} it is not made of them, "
            "so a paired comparison would not be of the score"
        )


def _prompt_differences(pairs: Sequence[_Pair], *, by_part: bool) -> list[Floats]:
    """Return b - a of every prompt, by part; each part's mean is that of its samples.

    Prompts with more pictures weigh more, as they do in the score: a prompt's value is its sum over
    the mean number of pictures.
    """
    parts: dict[str, dict[tuple[str, str], list[float]]] = defaultdict(lambda: defaultdict(list))
    for pair in pairs:
        parts[pair.part if by_part else ""][pair.part, pair.prompt].append(pair.b - pair.a)
    groups = []
    for prompts in parts.values():
        per_prompt = sum(map(len, prompts.values())) / len(prompts)
        groups.append(np.array([sum(values) / per_prompt for values in prompts.values()]))
    return groups


def _some(names: Sequence[str]) -> str:
    return f"{', '.join(names[:_SHOWN])}{' ...' * (len(names) > _SHOWN)}"
