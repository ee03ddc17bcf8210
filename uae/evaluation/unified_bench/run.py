"""Unified-Bench: caption a picture, paint it again from the caption alone, compare.

score of a slot = mean cosine x 100 between the features of original and reconstruction; overall =
plain mean of the slots. Unlike the published script, which drops failed pictures from the mean, a
missing or broken picture stops the benchmark, and every score has a bootstrap interval.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from uae.data.dataset import Dataset, load_dataset
from uae.data.facts import SceneFacts
from uae.data.starter.attributes import (
    attribute_precision,
    attribute_recall,
    text_fidelity,
)
from uae.data.words import count_words
from uae.errors import EvaluationError
from uae.evaluation.bootstrap import Interval, bootstrap_interval
from uae.evaluation.pictures import Pixels, to_pixels, write_png
from uae.evaluation.results import generation_settings, write_results
from uae.evaluation.systems.bundle import BundleSystem, System, paint_pictures, write_captions
from uae.evaluation.unified_bench.scorers import SlotScorer, load_scorer_slot
from uae.models.bundle import weights_root
from uae.recipe import Recipe
from uae.rewards.guards import repetition
from uae.seeds import derive_seed
from uae.training.numerics import exact_numerics

PROTOCOL = "unified-bench"
VERSION = 1


@dataclass(frozen=True)
class RoundTrips:
    """Pictures, what a system said about them, and what it painted from that."""

    image_ids: list[str]
    originals: list[Pixels]
    captions: list[str]
    seeds: list[int]
    reconstructions: list[Pixels]
    facts: list[SceneFacts | None]


def evaluate(recipe: Recipe, data: Path, model: Path, out: Path) -> dict[str, Any]:
    """Judge a model bundle on the held-out split of a validated data set.

    Args:
        recipe: `evaluation` says how many samples, which scorers and how to sample.
        data: Folder that `validate_data` wrote.
        model: Model bundle.
        out: Receives results.json, samples.parquet and images/.

    Returns:
        The content of results.json.

    Raises:
        EvaluationError: If there is no held-out picture, or a picture or a feature is broken.
        ModelError: If the model or a scorer cannot be loaded.
    """
    root, dataset = weights_root(recipe.models.base), load_dataset(data / "heldout")
    with exact_numerics(recipe.models) as device:
        scorers = {
            slot: load_scorer_slot(name, root, device=device)
            for slot, name in recipe.evaluation.slots.items()
        }
        system = BundleSystem.load(model, recipe.evaluation, device=device)
        return evaluate_system(recipe, dataset, system, scorers, out)


def evaluate_system(
    recipe: Recipe,
    dataset: Dataset,
    system: System,
    scorers: Mapping[str, SlotScorer],
    out: Path,
) -> dict[str, Any]:
    """Judge any system on the first `num_samples` pictures of a data set; see `evaluate`."""
    trips = make_round_trips(recipe, dataset, system)
    for image_id, original, painted in zip(
        trips.image_ids, trips.originals, trips.reconstructions, strict=True
    ):
        write_png(original, out / "images" / "original" / f"{image_id}.png")
        write_png(painted, out / "images" / "reconstruction" / f"{image_id}.png")
    cosines = slot_cosines(trips, scorers, batch_size=recipe.evaluation.batch_size)
    results = summarise(recipe, trips, cosines)
    for slot, scorer in scorers.items():
        results["slots"][slot] |= {"scorer": scorer.name, "scorer_identity": scorer.identity}
    results |= {
        "system": system.identity,
        "judges": {slot: scorer.identity for slot, scorer in scorers.items()},
        "prompts": {"data_revision": dataset.revision, "image_ids": trips.image_ids},
        "settings": generation_settings(recipe),
    }
    return write_results(out, results, _sample_rows(trips, cosines))


def make_round_trips(recipe: Recipe, dataset: Dataset, system: System) -> RoundTrips:
    """Caption and paint again the first `num_samples` pictures, or all where there are fewer.

    Raises:
        EvaluationError: If the data set is empty.
    """
    settings = recipe.evaluation
    count = min(settings.num_samples, len(dataset))
    if not count:
        raise EvaluationError("the held-out split is empty: nothing to evaluate on")
    samples = [dataset[index] for index in range(count)]
    originals = _original_pictures(dataset, count, system.image_size)
    seed = derive_seed(recipe.seed, PROTOCOL, "captions")
    captions = write_captions(system, originals, batch_size=settings.batch_size, seed=seed)
    seeds = [derive_seed(recipe.seed, PROTOCOL, sample.image_id) for sample in samples]
    painted = paint_pictures(
        system, captions, seeds, batch_size=settings.batch_size, overlong="truncate"
    )
    return RoundTrips(
        [sample.image_id for sample in samples],
        originals,
        captions,
        seeds,
        painted,
        [sample.facts for sample in samples],
    )


def slot_cosines(
    trips: RoundTrips, scorers: Mapping[str, SlotScorer], *, batch_size: int
) -> dict[str, NDArray[np.float64]]:
    """Return, for each slot, the cosine of every original with its reconstruction, (n,).

    Raises:
        EvaluationError: If pictures are missing, or a scorer gives no finite feature.
    """
    if len(trips.originals) != len(trips.reconstructions):
        raise EvaluationError(
            f"{len(trips.originals)} originals but {len(trips.reconstructions)} reconstructions"
        )
    cosines = {}
    for slot, scorer in scorers.items():
        before_BD = scorer.features(trips.originals, batch_size=batch_size)
        after_BD = scorer.features(trips.reconstructions, batch_size=batch_size)
        cosines[slot] = (before_BD * after_BD).sum(dim=1).double().numpy()
    return cosines


def summarise(
    recipe: Recipe, trips: RoundTrips, cosines: Mapping[str, NDArray[np.float64]]
) -> dict[str, Any]:
    """Return the scores: points 0 to 100 for pictures, shares 0 to 1 for captions."""

    def interval(values: Sequence[float] | NDArray[np.float64]) -> Interval:
        seed = derive_seed(recipe.seed, PROTOCOL, "bootstrap")
        return bootstrap_interval(values, recipe.evaluation.bootstrap_resamples, seed)

    overall = 100 * np.mean(list(cosines.values()), axis=0)  # (n,): the mean of means is the same
    columns = _caption_columns(trips)
    known = {name: [v for v in values if v is not None] for name, values in columns.items()}
    return {
        "protocol": PROTOCOL,
        "version": VERSION,
        "overall": float(overall.mean()),
        "interval": interval(overall),
        "slots": {
            slot: {"score": float(100 * values.mean()), "interval": interval(100 * values)}
            for slot, values in cosines.items()
        },
        **{name: float(np.mean(values)) if values else None for name, values in known.items()},
        "intervals": {name: interval(values) if values else None for name, values in known.items()},
        "num_samples": len(trips.image_ids),
        "num_samples_requested": recipe.evaluation.num_samples,
    }


def _original_pictures(dataset: Dataset, count: int, image_size: int) -> list[Pixels]:
    return to_pixels(torch.from_numpy(dataset.pixels(range(count), image_size)))


def _caption_columns(trips: RoundTrips) -> dict[str, list[float | None]]:
    pairs = list(zip(trips.captions, trips.facts, strict=True))
    return {
        "caption_words": [float(count_words(caption)) for caption in trips.captions],
        "repetition": [repetition(caption) for caption in trips.captions],
        "attribute_recall": [None if f is None else attribute_recall(c, f) for c, f in pairs],
        "attribute_precision": [None if f is None else attribute_precision(c, f) for c, f in pairs],
        "text_fidelity": [None if f is None else text_fidelity(c, f) for c, f in pairs],
    }


def _sample_rows(
    trips: RoundTrips, cosines: Mapping[str, NDArray[np.float64]]
) -> list[dict[str, Any]]:
    columns = _caption_columns(trips)
    return [
        {
            "image_id": image_id,
            "state": "scored",
            "caption": trips.captions[index],
            "facts": None if facts is None else json.dumps(facts.to_json()),
            "seed": trips.seeds[index],
            "original": f"images/original/{image_id}.png",
            "reconstruction": f"images/reconstruction/{image_id}.png",
            "overall": float(100 * np.mean([values[index] for values in cosines.values()])),
            **{f"slots/{slot}": float(100 * values[index]) for slot, values in cosines.items()},
            **{name: values[index] for name, values in columns.items()},
        }
        for index, (image_id, facts) in enumerate(zip(trips.image_ids, trips.facts, strict=True))
    ]
