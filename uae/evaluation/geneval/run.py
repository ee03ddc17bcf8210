"""GenEval: does a generated picture hold the objects, counts, colours and positions asked for?

Pictures are painted into the official folder layout (00000/metadata.jsonl, 00000/samples/0000.png)
and judged from there. Score: image accuracy of each task, then the plain mean of the tasks. Before
scoring, detector and colour classifier must pass a self-test on pictures whose verdict is known.

Where this departs from evaluate_images.py and summary_scores.py in github.com/djghosh13/geneval:

- the detector is a Mask2Former of transformers, whose weights were trained by others than mmdet's,
  and whose processor stretches a picture to multiples of 32 where mmdet pads it;
- colours are classified in single precision, in the script on a GPU in half precision;
- a prompt file is checked, and pictures that are missing leave the score open: the script scores
  whatever it finds.

The rules themselves do not differ, see `uae.evaluation.geneval.rules`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from uae.data.starter.prompts import scene_prompts
from uae.evaluation.benchmark_scenes import load_benchmark_scenes
from uae.evaluation.classification import colors_asked_and_seen
from uae.evaluation.context import Context
from uae.evaluation.geneval.images import BENCHMARK, InFolder, check_metadata, picture_place
from uae.evaluation.geneval.judging import object_of_row
from uae.evaluation.geneval.known_answers import photographs_self_test, scenes_self_test
from uae.evaluation.geneval.models import GenevalModels, check_vocabulary, load_models
from uae.evaluation.geneval.phases import Phases
from uae.evaluation.geneval.prompts import GenevalPrompts, load_prompts
from uae.evaluation.geneval.rules import by_class
from uae.evaluation.geneval.summary import summarise
from uae.evaluation.journal import Journal, Row, Unfinished
from uae.evaluation.results import Result, Sample, count_states, write_results
from uae.evaluation.systems.base import System
from uae.evaluation.systems.requirements import require
from uae.recipe import GenevalRecipe
from uae.seeds import derive_seed

PROTOCOL = "geneval"
VERSION = 2
SELF_TEST_PROMPTS = 24  # made from scenes, where the prompts themselves are not


def run(settings: GenevalRecipe, context: Context, system: System, out: Path) -> Result:
    """Judge a system on GenEval's prompts.

    Args:
        settings: Which prompts, how many pictures, which models judge.
        context: Where weights and data are; seed, batch size and shard.
        system: What is judged; it must paint.
        out: Receives results.json, samples.parquet and images/ in the official layout.

    Returns:
        The content of results.json; scores are shares, 0 to 1.

    Raises:
        EvaluationError: If prompts, models or given pictures do not fit each other, or the
            self-test fails.
        ModelError: If the system, the detector or the colour classifier cannot be loaded.
        Unfinished: While other shards have work.
    """
    asked = load_prompts(settings, context)
    phases = Phases(context, asked, settings.images_per_prompt, out)
    require(system, BENCHMARK, pictures=True, places=[picture_place(*p) for p in phases.places])
    if isinstance(system, InFolder):
        check_metadata(system.root / BENCHMARK, asked.prompts, asked.texts)
    batch_size = context.judging.batch_size
    models = load_models(settings, context.weights, batch_size=batch_size, device=context.device)
    check_vocabulary(models, asked.prompts)
    common = _common(settings, context, system, models)
    used = asked.described.model_dump(exclude={"source"})
    journal = Journal.open(
        out, common | {"prompts": used}, context.shard, retry_failures=context.retry_failures
    )
    if (done := journal.result()) is not None:
        return done
    tested = journal.once("self_test", lambda: _self_test(models, settings, asked, context))
    phases.paint(journal, system)
    system.close()
    rows = phases.judge(journal, models)
    if rows is None:
        raise Unfinished(f"{out}: other shards have not finished")
    samples = [Sample.model_validate(row) for row in rows]
    result = Result(
        **common,
        **_scores(samples, settings, context),
        unit="share",
        num_samples=len(samples),
        states=count_states(samples),
        prompts=asked.described,
        self_test=tested["result"],
        classification=tested["classification"] | _seen_colors(asked, samples, models),
        key=journal.key,
    )
    write_results(out, result, samples)
    journal.close()
    return result


def _common(
    settings: GenevalRecipe, context: Context, system: System, models: GenevalModels
) -> dict[str, Any]:
    """Return what decides the result and stands in it, but for the prompts."""
    return {
        "benchmark": BENCHMARK,
        "protocol": PROTOCOL,
        "version": VERSION,
        "system": system.identity,
        "generation": system.settings,
        "judges": models.identities,
        "settings": _deciding_settings(settings, context),
    }


def _scores(samples: Sequence[Sample], settings: GenevalRecipe, context: Context) -> dict[str, Any]:
    summary = summarise(
        samples,
        settings.images_per_prompt,
        resamples=context.judging.bootstrap_resamples,
        seed=derive_seed(context.seed, PROTOCOL, "bootstrap"),
    )
    return summary._asdict()


def _deciding_settings(settings: GenevalRecipe, context: Context) -> dict[str, Any]:
    """Return what decides a score, without sources and folders: hashes stand for their content."""
    sources = {"prompts", "rewritten", "detector", "colors"}
    return settings.model_dump(mode="json", exclude=sources) | context.deciding


def _self_test(
    models: GenevalModels, settings: GenevalRecipe, asked: GenevalPrompts, context: Context
) -> Row:
    """Test what judges; nothing is stored, so nothing is scored, where it fails."""
    tags = {prompt.tag for prompt in asked.prompts}
    if settings.vocabulary == "official":
        test = photographs_self_test(models, tags)
    elif asked.scenes:
        test = scenes_self_test(models, list(zip(asked.prompts, asked.scenes, strict=True)))
    else:
        scenes = [facts for _, facts in load_benchmark_scenes(context.data).scenes]
        pairs = scene_prompts(scenes, SELF_TEST_PROMPTS)
        test = scenes_self_test(models, [pair for pair in pairs if pair[0].tag in tags])
    test.require(context.judging.min_self_test_accuracy)
    return {"result": test.to_json(), "classification": {"self_test": test.classification()}}


def _seen_colors(
    asked: GenevalPrompts, samples: Sequence[Sample], models: GenevalModels
) -> dict[str, Any]:
    """Return which colours were asked for and which were seen, if any were asked for."""
    per_prompt = len(samples) // len(asked.prompts)
    each = [prompt for prompt in asked.prompts for _ in range(per_prompt)]
    judged = [(p, s) for p, s in zip(each, samples, strict=True) if s.state != "missing"]
    objects = [by_class([object_of_row(row) for row in s.evidence["objects"]]) for _, s in judged]
    confusion = colors_asked_and_seen([p for p, _ in judged], objects, models.colors.colors)
    return {"colors": {"confusion": confusion._asdict()}} if confusion else {}
