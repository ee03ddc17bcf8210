"""What every benchmark leaves: `results.json` with the scores, `samples.parquet` with the evidence.

One schema for all of them. Neither file holds a time or a path of the machine: an evaluation that
was killed and went on leaves the same bytes as one that was not.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from uae.errors import EvaluationError
from uae.evaluation.bootstrap import Interval

FORMAT: Literal[2] = 2
RESULTS, SAMPLES = "results.json", "samples.parquet"

State = Literal["scored", "wrong", "judge_error", "missing", "dropped"]
STATES: tuple[State, ...] = get_args(State)
FAILURES: frozenset[State] = frozenset({"judge_error", "missing"})  # may be tried again
Unit = Literal["share", "points"]  # 0 to 1, or 0 to 100
_JSON_COLUMNS = ("images", "evidence")
_COMPARABLE = ("benchmark", "protocol", "version", "judges", "prompts")


class Part(BaseModel):
    """A score of a part of the samples (task, category) or by one scorer (slot)."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    score: float | None  # None: nothing could be judged, or the measure does not apply
    interval: Interval | None = None
    num_samples: int


class PromptSet(BaseModel):
    """What was asked: two results are of one prompt set where `name` and `sha256` agree."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str  # such as "geneval", "geneval-rewritten", "scenes", "heldout"
    source: str  # where it came from, without credentials; not compared
    sha256: str  # of the prompts that were used, in order
    count: int


class Result(BaseModel):
    """`results.json`: everything that somebody needs to cite a score, or to refuse it."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    format: Literal[2] = 2
    benchmark: str  # module in uae.evaluation, such as "dpg_bench"
    protocol: str  # such as "dpg-bench/official"
    version: int  # of our implementation of the protocol; raised when a number may change
    unit: Unit
    score: float | None  # None while samples are missing or a judge failed: see `bounds`
    interval: Interval | None  # bootstrap, 95 %
    bounds: Interval | None  # of the score, whatever the samples without a verdict would have got
    num_samples: int
    states: dict[State, int]
    parts: dict[str, Part]  # what the score is made of: slots, tasks, level-1 categories
    metrics: dict[str, Part]  # everything else that is measured on the way
    prompts: PromptSet
    system: dict[str, str]  # name, kind, sha256 of the weights, and what else identifies it
    generation: dict[str, Any]  # settings with which captions and pictures were made
    judges: dict[str, dict[str, str]]  # role -> identity
    settings: dict[str, Any]  # of the benchmark
    self_test: dict[str, Any] | None
    classification: dict[str, Any] = {}
    key: str  # sha256 of everything that decides the result

    @property
    def complete(self) -> bool:
        """Whether every sample has its verdict, but those that the protocol leaves out."""
        return not any(self.states.get(state, 0) for state in FAILURES)


class Sample(BaseModel):
    """One row of `samples.parquet`. Further columns are the benchmark's own."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    sample_id: str  # unique in a result; the same for every system
    part: str  # task, tag or category by which samples are grouped; "" where there is none
    state: State  # "scored": judged, and right where it is yes or no; "dropped": by the protocol
    score: float | None  # in the result's unit; None without a verdict
    reason: str  # why it is wrong, could not be judged, or is missing; else ""
    prompt: str  # the text that the picture was made from; "" where it is the caption
    caption: str  # what the system wrote; "" where it was not asked
    seed: int
    images: dict[str, str]  # role (generated, original, reconstruction, grid) -> path beside it
    evidence: dict[str, Any]  # see docs/results.md: objects, questions, reply, words, scores


def count_states(samples: Iterable[Sample]) -> dict[State, int]:
    """Return how many samples are in each state, all of them named."""
    found = Counter(sample.state for sample in samples)
    return {state: found[state] for state in STATES}


def write_results(out: Path, result: Result, samples: Sequence[Sample]) -> Result:
    """Write both files, the scores last, each at once or not at all.

    Raises:
        EvaluationError: If two samples have one id, or their number is not the result's.
    """
    ids = Counter(sample.sample_id for sample in samples)
    twice = [name for name, count in ids.items() if count > 1]
    if twice or len(samples) != result.num_samples:
        raise EvaluationError(
            f"{len(samples)} rows for {result.num_samples} samples, ids that stand twice: {twice}"
        )
    out.mkdir(parents=True, exist_ok=True)
    rows = [sample.model_dump() for sample in samples]
    for row in rows:
        row |= {name: json.dumps(row[name], ensure_ascii=False) for name in _JSON_COLUMNS}
    import pyarrow  # late: who only reads scores does without
    import pyarrow.parquet

    partial = out / f".{SAMPLES}.{os.getpid()}.partial"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), partial)
    os.replace(partial, out / SAMPLES)
    text = json.dumps(result.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"
    partial = out / f".{RESULTS}.{os.getpid()}.partial"
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, out / RESULTS)
    return result


def read_result(folder: Path) -> Result:
    """Read `results.json`.

    Raises:
        EvaluationError: If it is missing or not of this schema, naming the fields.
    """
    path = folder / RESULTS
    if not path.is_file():
        raise EvaluationError(f"no results at {path}: is the evaluation finished?")
    try:
        return Result.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise EvaluationError(f"{path} is not a result of format {FORMAT}: {error}") from error


def read_samples(folder: Path) -> list[Sample]:
    """Read `samples.parquet`.

    Raises:
        EvaluationError: If it is missing or not of this schema.
    """
    import pyarrow.parquet

    path = folder / SAMPLES
    try:
        rows = pyarrow.parquet.read_table(path).to_pylist()
        for row in rows:
            row |= {name: json.loads(row[name]) for name in _JSON_COLUMNS}
        return [Sample.model_validate(row) for row in rows]
    except (OSError, KeyError, ValueError) as error:
        raise EvaluationError(f"cannot read the samples {path}: {error}") from error


def check_comparable(a: Result, b: Result) -> None:
    """Refuse to set two results side by side that were not measured in the same way.

    Raises:
        EvaluationError: Naming the differing keys with both values.
    """
    differences = [
        f"{key}: {one!r} against {other!r}"
        for key in _COMPARABLE
        for one, other in [(_compared(a, key), _compared(b, key))]
        if one != other
    ]
    if differences:
        raise EvaluationError("these results cannot be compared; " + "; ".join(differences))


def _compared(result: Result, key: str) -> Any:
    if key == "prompts":
        return {"name": result.prompts.name, "sha256": result.prompts.sha256}
    return getattr(result, key)
