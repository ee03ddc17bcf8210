"""Result files: `results.json` with the scores, `samples.parquet` with the evidence for them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from uae.errors import EvaluationError
from uae.recipe import EvaluationRecipe, Recipe

COMPARABLE_KEYS = ("protocol", "version", "judges", "prompts")


def write_results(
    out: Path, results: Mapping[str, Any], samples: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Write both files and return the results as they are read back."""
    out.mkdir(parents=True, exist_ok=True)
    table = pyarrow.Table.from_pylist([dict(sample) for sample in samples])
    pyarrow.parquet.write_table(table, out / "samples.parquet")
    text = json.dumps(results, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    (out / "results.json").write_text(text, encoding="utf-8")
    read_back: dict[str, Any] = json.loads(text)
    return read_back


def generation_settings(recipe: Recipe) -> dict[str, Any]:
    """Return what decides captions and pictures, apart from the weights."""
    evaluation: EvaluationRecipe = recipe.evaluation
    return {
        "seed": recipe.seed,
        "max_new_tokens": evaluation.max_new_tokens,
        "temperature": evaluation.temperature,
        "sampler": evaluation.sampler.model_dump(),
        "bootstrap_resamples": evaluation.bootstrap_resamples,
    }


def check_comparable(a: Mapping[str, Any], b: Mapping[str, Any]) -> None:
    """Refuse to set two results side by side that were not measured in the same way.

    Raises:
        EvaluationError: Naming the differing keys with both values.
    """
    differences = [
        f"{key}: {a.get(key)!r} against {b.get(key)!r}"
        for key in COMPARABLE_KEYS
        if a.get(key) != b.get(key)
    ]
    if differences:
        raise EvaluationError("these results cannot be compared; " + "; ".join(differences))
