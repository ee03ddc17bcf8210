"""Whether GenEval and DPG-Bench can ask about a data set's benchmark rows: found out in advance.

Both ask in the starter's words and paint the rows' scenes anew for their self-test, so that the
rows' facts must lie in the starter's domain. Data without such rows are asked about the shipped
scenes.
"""

from collections.abc import Collection, Iterator, Sequence

from uae.data.data_report import Check
from uae.data.dataset import load_dataset
from uae.data.facts import SceneFacts
from uae.data.sample import Fault, Sample
from uae.data.starter.prompts import scene_prompts
from uae.data.starter.vocabulary import (
    BACKGROUNDS,
    CLASSES,
    COLORS,
    IMAGE_SIZE,
    PLACES,
    SIZES,
    STARTER_DATA,
    WORDS,
)
from uae.errors import EvaluationError
from uae.recipe import EvaluationRecipe

SPLIT = "benchmark"


def check_benchmark(samples: Sequence[Sample], recipe: EvaluationRecipe) -> list[Check]:
    """Check the benchmark rows, and that there are enough for the recipe's prompts.

    Args:
        samples: The whole data set.
        recipe: Says how many prompts are wanted.
    """
    rows = [sample for sample in samples if sample.split == SPLIT]
    faults = [fault for sample in rows if (fault := _fault(sample))]
    checks = [_check("benchmark facts are of the starter's domain", len(rows), faults)]
    if not faults:
        shipped = [] if rows else [s for s in load_dataset(STARTER_DATA) if s.split == SPLIT]
        scenes = [sample.facts for sample in rows or shipped if sample.facts is not None]
        where = f"{SPLIT} rows" if rows else f"shipped {SPLIT} scenes"
        shortages = [
            Fault(where, "benchmark rows give enough prompts", shortage)
            for shortage in _shortages(scenes, recipe)
        ]
        checks.append(_check("benchmark rows give enough prompts", len(scenes), shortages))
    return checks


def _check(rule: str, num_checked: int, faults: list[Fault]) -> Check:
    return Check(rule, "facts", num_checked, tuple(faults))


def _fault(sample: Sample) -> Fault | None:
    strange = ["has no facts"] if sample.facts is None else list(_strange(sample.facts))
    if not strange:
        return None
    return Fault(sample.image_id, "benchmark facts are of the starter's domain", "; ".join(strange))


def _strange(facts: SceneFacts) -> Iterator[str]:
    """Say what the starter's detector and judge do not know, or its painter cannot paint."""
    values: list[tuple[str, str, Collection[str]]]
    values = [("background", facts.background, BACKGROUNDS)]
    values += [("word", facts.word, WORDS)] if facts.word is not None else []
    for number, thing in enumerate(facts.objects):
        key = f"objects.{number}"
        values += [
            (f"{key}.class", thing.name, CLASSES),
            (f"{key}.color", thing.color, COLORS),
            (f"{key}.size", thing.size, SIZES),
            (f"{key}.place", thing.place, PLACES),
        ]
        if min(thing.box) < 0 or max(thing.box) > IMAGE_SIZE:
            yield f"{key}.box {[*thing.box]} leaves the picture of {IMAGE_SIZE} x {IMAGE_SIZE}"
    for key, value, known in values:
        if value not in known:
            yield f"{key} {value!r} is none of {', '.join(known)}"


def _shortages(scenes: Sequence[SceneFacts], recipe: EvaluationRecipe) -> Iterator[str]:
    geneval, dpg_bench = recipe.geneval, recipe.dpg_bench
    if geneval.prompts == "scenes" and geneval.num_prompts is not None:
        try:
            scene_prompts(scenes, geneval.num_prompts)
        except EvaluationError as error:
            yield str(error)
    if dpg_bench.prompts == "scenes" and len(scenes) < (dpg_bench.num_prompts or 1):
        yield (
            f"{dpg_bench.num_prompts} DPG-Bench prompts need as many scenes, there are "
            f"{len(scenes)}: add scenes or lower evaluation.dpg_bench.num_prompts"
        )
