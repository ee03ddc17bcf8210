"""GenEval from the settings to the result, with real models."""

import json
import shutil

import pytest
import torch
from transformers.models.mask2former.configuration_mask2former import Mask2FormerConfig
from transformers.models.mask2former.modeling_mask2former import Mask2FormerForUniversalSegmentation

from uae.data.starter.vocabulary import COLORS, STARTER_WEIGHTS
from uae.errors import EvaluationError
from uae.evaluation.geneval.prompts import load_prompts
from uae.evaluation.geneval.run import run
from uae.evaluation.geneval.vocabulary import OFFICIAL_CLASSES
from uae.evaluation.journal import Shard, Unfinished
from uae.evaluation.results import check_comparable, read_result, read_samples
from uae.evaluation.systems.base import Capabilities
from uae.evaluation.systems.bundle import BundleSystem
from uae.evaluation.systems.folder import FolderSystem
from uae.recipe import FolderSystemRecipe

FILES = ("results.json", "samples.parquet")


@pytest.fixture
def settings(recipe_with):
    """12 prompts from scenes, two pictures each."""
    return recipe_with().evaluation.geneval.model_copy(update={"images_per_prompt": 2})


@pytest.fixture
def starter_context(context):
    """With the shipped detector and classifier, which see what is drawn."""
    return lambda **changes: context(weights=STARTER_WEIGHTS, **changes)


@pytest.fixture
def painter_of(painter, settings, context):
    asked = load_prompts(settings, context())

    def make(**options):
        return painter(dict(zip(asked.texts, asked.scenes, strict=True)), **options)

    return make


@pytest.fixture
def reference(settings, starter_context, painter_of, tmp_path):
    """The result of an undisturbed run, and its files' bytes."""
    out = tmp_path / "reference"
    result = run(settings, starter_context(), painter_of(), out)
    return result, contents(out)


def contents(out):
    return [(out / name).read_bytes() for name in FILES]


def test_the_result_says_what_was_measured(reference, tmp_path):
    result, _ = reference
    assert read_result(tmp_path / "reference") == result
    assert (result.benchmark, result.protocol, result.version) == ("geneval", "geneval", 2)
    assert (result.unit, result.num_samples, result.complete) == ("share", 24, True)
    assert len(result.parts) == 6
    assert result.score == pytest.approx(sum(p.score for p in result.parts.values()) / 6)
    assert result.interval.low <= result.score <= result.interval.high
    assert result.score > 0.5  # every picture is the scene that its prompt was made from
    assert result.metrics.keys() == {"correct_images", "correct_prompts"}
    assert (result.prompts.name, result.prompts.source) == ("scenes", "data")
    assert result.judges["detector"]["kind"] == "segformer-regions"
    assert result.generation == {"brush": "fine"}
    assert result.settings["images_per_prompt"] == 2
    assert str(tmp_path) not in (tmp_path / "reference" / "results.json").read_text()
    check, colors = (result.classification[name] for name in ("self_test", "colors"))
    # 12 prompts: 2 ask for one colour, 2 for two; each in two pictures
    assert sum(map(sum, colors["confusion"]["matrix"])) == 12
    assert colors["confusion"]["categories"][: len(COLORS)] == list(COLORS)
    assert check["confusion"]["categories"] == ["yes", "no"]
    assert result.self_test["groups"]["counting/yes"].endswith("/2")


def test_a_killed_run_that_goes_on_leaves_the_same_bytes(
    reference, settings, starter_context, painter_of, tmp_path
):
    out = tmp_path / "killed"
    with pytest.raises(RuntimeError, match="killed"):
        run(settings, starter_context(), painter_of(dies_after=9), out)
    again = painter_of()
    picture = out / "images/00000/samples/0000.png"
    before = picture.stat().st_mtime_ns
    run(settings, starter_context(), again, out)
    assert again.num_requests == 24 - 8  # two batches of four were done
    assert picture.stat().st_mtime_ns == before
    assert contents(out) == reference[1]
    third = painter_of()
    assert run(settings, starter_context(), third, out) == reference[0]
    assert third.num_requests == 0


def test_a_run_killed_while_judging_leaves_the_same_bytes(
    reference, settings, starter_context, painter_of, tmp_path
):
    out = tmp_path / "killed"
    shutil.copytree(tmp_path / "reference" / "images", tmp_path / "spare")

    def dies_when_closed():
        (out / "images/00009/samples/0001.png").write_bytes(b"")

    system = painter_of()
    system.close = dies_when_closed
    with pytest.raises(EvaluationError, match="00009"):
        run(settings, starter_context(), system, out)
    assert not (out / "results.json").exists()
    shutil.copytree(tmp_path / "spare", out / "images", dirs_exist_ok=True)
    run(settings, starter_context(), painter_of(), out)
    assert contents(out) == reference[1]


def test_any_number_of_shards_leaves_the_same_bytes(
    reference, settings, starter_context, painter_of, tmp_path
):
    for count in (2, 5):
        out = tmp_path / f"shards-{count}"
        for number in range(count - 1):
            with pytest.raises(Unfinished):
                run(settings, starter_context(shard=Shard(number, count)), painter_of(), out)
        last = Shard(count - 1, count)
        run(settings, starter_context(shard=last), painter_of(), out)
        assert contents(out) == reference[1]


def test_missing_pictures_leave_the_score_open_until_they_are_painted(
    reference, settings, starter_context, painter_of, tmp_path
):
    out = tmp_path / "failing"
    text = load_prompts(settings, starter_context()).texts[0]
    result = run(settings, starter_context(), painter_of(failing={text}), out)
    assert (result.score, result.interval) == (None, None)
    assert result.states["missing"] == 2
    # one of two prompts of one task of six
    assert result.bounds.high - result.bounds.low == pytest.approx(1 / 12)
    rows = [row for row in read_samples(out) if row.state == "missing"]
    assert [(row.score, row.reason) for row in rows] == [(None, "refused")] * 2
    assert not result.complete
    retried = starter_context(retry_failures=True)
    assert run(settings, retried, painter_of(), out) == reference[0]
    assert contents(out) == reference[1]


def test_another_evaluation_in_the_same_folder_is_refused(
    reference, settings, starter_context, painter_of, tmp_path
):
    with pytest.raises(EvaluationError, match=r"another evaluation.*seed"):
        run(settings, starter_context(seed=1), painter_of(), tmp_path / "reference")
    fewer = settings.model_copy(update={"num_prompts": 6})
    with pytest.raises(EvaluationError, match=r"another evaluation.*prompts"):
        run(fewer, starter_context(), painter_of(), tmp_path / "reference")


def test_models_that_fail_the_self_test_score_nothing(
    settings, context, recipe_with, painter_of, tmp_path
):
    judging = recipe_with(min_self_test_accuracy=0.9).evaluation
    system = painter_of()
    with pytest.raises(EvaluationError, match="self-test failed"):
        run(settings, context(judging=judging), system, tmp_path)  # random weights
    assert system.num_requests == 0
    assert not (tmp_path / "results.json").exists()


def test_a_system_that_does_not_paint_is_refused(settings, context, painter_of, tmp_path):
    system = painter_of()
    system.capabilities = Capabilities(captions=True, pictures=False)
    with pytest.raises(EvaluationError, match="paint pictures"):
        run(settings, context(), system, tmp_path)


def test_a_bundle_is_judged_end_to_end(recipe_with, context, weights, tmp_path):
    evaluation = recipe_with().evaluation
    system = BundleSystem.of_run(weights / "autoencoder", evaluation)
    result = run(evaluation.geneval, context(), system, tmp_path)
    assert 0 <= result.score <= 1
    assert result.judges["detector"]["kind"] == "mask2former"
    assert all((tmp_path / s.images["generated"]).is_file() for s in read_samples(tmp_path))


def given(path, missing="refuse"):
    recipe = {"kind": "folder", "name": "elsewhere", "path": str(path), "missing": missing}
    return FolderSystem(FolderSystemRecipe.model_validate(recipe))


def test_pictures_of_another_tool_get_the_same_scores(
    reference, settings, starter_context, tmp_path
):
    folder = tmp_path / "given"
    shutil.copytree(tmp_path / "reference" / "images", folder / "geneval")
    result = run(settings, starter_context(), given(folder), tmp_path / "out")
    assert (result.score, result.parts) == (reference[0].score, reference[0].parts)
    check_comparable(result, reference[0])
    (folder / "geneval/00000/samples/0002.png").write_bytes(b"")
    with pytest.raises(EvaluationError, match=r"1 superfluous: geneval/00000/samples/0002\.png"):
        run(settings, starter_context(), given(folder), tmp_path / "more")
    (folder / "geneval/00000/samples/0002.png").unlink()
    (folder / "geneval/00001/samples/0000.png").unlink()
    with pytest.raises(EvaluationError, match=r"1 missing: geneval/00001/samples/0001\.png"):
        run(settings, starter_context(), given(folder), tmp_path / "fewer")
    counted = run(settings, starter_context(), given(folder, "count"), tmp_path / "counted")
    assert counted.states["missing"] == 1
    metadata = folder / "geneval/00002/metadata.jsonl"
    shutil.copy(folder / "geneval/00003/metadata.jsonl", metadata)
    with pytest.raises(EvaluationError, match=r"00002/metadata\.jsonl is another prompt"):
        run(settings, starter_context(), given(folder, "count"), tmp_path / "other")


@pytest.fixture(scope="module")
def coco_weights(weights, tmp_path_factory):
    """The tiny weights with a detector of COCO's classes, named as a detector of transformers."""
    root = tmp_path_factory.mktemp("coco")
    shutil.copytree(weights, root, dirs_exist_ok=True)
    labels = ["mouse" if name == "computer mouse" else name for name in OFFICIAL_CLASSES]
    config = Mask2FormerConfig.from_pretrained(root / "detector")
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: index for index, label in enumerate(labels)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        Mask2FormerForUniversalSegmentation(config).save_pretrained(root / "detector")
    return root


@pytest.fixture
def official(settings, tmp_path):
    """The settings of the official vocabulary with a file of two prompts, and their texts."""
    rows = [
        {
            "tag": "single_object",
            "include": [{"class": "computer mouse", "count": 1}],
            "prompt": "a photo of a computer mouse",
        },
        {
            "tag": "colors",
            "include": [{"class": "bench", "count": 1, "color": "brown"}],
            "prompt": "a photo of a brown bench",
        },
    ]
    path = tmp_path / "evaluation_metadata.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    changes = {
        "prompts": {"source": str(path), "sha256": None},
        "num_prompts": None,
        "vocabulary": "official",
    }
    values = settings.model_dump() | changes
    return type(settings).model_validate(values), [row["prompt"] for row in rows]


def test_an_official_file_is_judged_in_its_own_words(
    official, coco_weights, context, painter, scenes, tmp_path
):
    settings, texts = official
    system = painter(dict(zip(texts, scenes, strict=False)))
    result = run(settings, context(weights=coco_weights), system, tmp_path / "out")
    assert result.prompts.name == "geneval"
    assert result.prompts.count == 2
    assert list(result.parts) == ["single_object", "colors"]
    assert result.judges["detector"]["names"] == "geneval"
    assert "brown" in result.judges["colors"]["colors"]
    groups = result.self_test["groups"]
    assert {name.partition("/")[0] for name in groups} == {"single_object", "colors"}
    assert [row.prompt for row in read_samples(tmp_path / "out")] == [
        text for text in texts for _ in range(2)
    ]


def test_rewritten_texts_are_painted_and_judged_by_the_prompts_rules(
    official, coco_weights, context, painter, scenes, tmp_path
):
    settings, _ = official
    longer = ["a grey computer mouse on a desk", "an old brown bench under a tree"]
    (tmp_path / "longer.txt").write_text("\n".join(longer) + "\n")
    source = {"source": str(tmp_path / "longer.txt"), "sha256": None}
    settings = type(settings).model_validate(settings.model_dump() | {"rewritten": source})
    system = painter(dict(zip(longer, scenes, strict=False)))
    result = run(settings, context(weights=coco_weights), system, tmp_path / "out")
    assert result.prompts.name == "geneval-rewritten"
    rows = read_samples(tmp_path / "out")
    assert rows[0].prompt == longer[0]
    assert rows[0].evidence["metadata"]["prompt"] == "a photo of a computer mouse"
    metadata = (tmp_path / "out/images/00001/metadata.jsonl").read_text()
    assert json.loads(metadata)["prompt"] == "a photo of a brown bench"


def test_a_detector_of_other_classes_is_refused(official, context, painter_of, tmp_path):
    settings, _ = official
    with pytest.raises(EvaluationError, match="class 0 is 'cat', GenEval's is 'person'"):
        run(settings, context(), painter_of(), tmp_path / "out")


def test_a_file_in_the_starters_words_is_tested_on_scenes(
    settings, starter_context, painter_of, tmp_path
):
    asked = load_prompts(settings, starter_context())
    rows = [prompt.to_json() for prompt in asked.prompts if prompt.tag == "counting"]
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, rows)))
    source = {"source": str(tmp_path / "p.jsonl"), "sha256": None}
    values = settings.model_dump() | {"prompts": source, "num_prompts": None}
    counting = type(settings).model_validate(values)
    result = run(counting, starter_context(), painter_of(), tmp_path / "out")
    assert result.prompts.name == "geneval"
    assert result.self_test["groups"].keys() == {"counting/yes", "counting/no"}
    assert list(result.parts) == ["counting"]
