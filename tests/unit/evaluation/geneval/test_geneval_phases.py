"""Painting and judging with models that know the scenes."""

import json

import pytest

from uae.data.geneval import Include, Prompt
from uae.data.starter.prompts import scene_prompts
from uae.errors import EvaluationError
from uae.evaluation.benchmark_scenes import scene_picture
from uae.evaluation.geneval.judging import judge_pictures, object_of_row, object_row
from uae.evaluation.geneval.phases import Phases
from uae.evaluation.geneval.prompts import load_prompts
from uae.evaluation.journal import Journal, Shard
from uae.evaluation.results import Sample


@pytest.fixture
def asked(recipe_with, context):
    """12 prompts that were made from scenes."""
    return load_prompts(recipe_with().evaluation.geneval, context())


@pytest.fixture
def painter_of(painter, asked):
    def make(**options):
        return painter(dict(zip(asked.texts, asked.scenes, strict=True)), **options)

    return make


def samples_of(rows):
    return [Sample.model_validate(row) for row in rows]


def test_a_system_that_obeys_is_right_in_every_picture(
    asked, context, painter_of, oracle_models, tmp_path
):
    phases = Phases(context(), asked, 2, tmp_path)
    journal = Journal.open(tmp_path, {})
    phases.paint(journal, painter_of())
    samples = samples_of(phases.judge(journal, oracle_models(asked.scenes)))
    assert [sample.sample_id for sample in samples[:3]] == [
        "00000-0000",
        "00000-0001",
        "00001-0000",
    ]
    assert {(sample.state, sample.score, sample.reason) for sample in samples} == {
        ("scored", 1.0, "")
    }
    assert len({sample.seed for sample in samples}) == len(samples) == 24
    first = samples[0]
    assert (first.part, first.prompt) == (asked.prompts[0].tag, asked.texts[0])
    assert first.evidence["metadata"] == asked.prompts[0].to_json()
    assert {o["class"] for o in first.evidence["objects"]} >= {asked.prompts[0].include[0].name}
    assert first.images == {"generated": "images/00000/samples/0000.png"}
    assert (tmp_path / first.images["generated"]).is_file()
    row = (tmp_path / "images/00011/metadata.jsonl").read_text()
    assert json.loads(row) == asked.prompts[11].to_json()


def test_pictures_without_their_objects_are_wrong_and_say_why(
    asked, context, painter_of, oracle_models, tmp_path
):
    phases = Phases(context(), asked, 1, tmp_path)
    journal = Journal.open(tmp_path, {})
    phases.paint(journal, painter_of())
    samples = samples_of(phases.judge(journal, oracle_models(asked.scenes, blind=True)))
    assert {(sample.state, sample.score) for sample in samples} == {("wrong", 0.0)}
    name = asked.prompts[0].include[0].name
    assert samples[0].reason == f"expected {name}>=1, found 0"
    assert samples[0].evidence["objects"] == []


def test_a_picture_that_was_not_painted_is_missing_and_the_others_are_judged(
    asked, context, painter_of, oracle_models, tmp_path
):
    phases = Phases(context(), asked, 2, tmp_path)
    journal = Journal.open(tmp_path, {})
    stale = tmp_path / "images/00003/samples/0001.png"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"what an attempt left that was killed before it was noted")
    # a batch is two prompts: one is missing wholly, one in part
    phases.paint(journal, painter_of(failing={asked.texts[n] for n in (3, 4, 5)}))
    samples = samples_of(phases.judge(journal, oracle_models(asked.scenes)))
    missing = [sample for sample in samples if sample.state == "missing"]
    assert [sample.sample_id[:5] for sample in missing] == ["00003"] * 2 + ["00004"] * 2 + [
        "00005"
    ] * 2
    assert not stale.exists()
    for sample in missing:
        assert (sample.score, sample.reason, sample.images) == (None, "refused", {})
        assert "objects" not in sample.evidence
    assert sum(sample.state == "scored" for sample in samples) == 18


def test_a_picture_that_is_gone_or_broken_is_an_error_not_a_zero(
    asked, context, painter_of, oracle_models, tmp_path
):
    phases = Phases(context(), asked, 1, tmp_path)
    journal = Journal.open(tmp_path, {})
    phases.paint(journal, painter_of())
    picture = tmp_path / "images/00006/samples/0000.png"
    whole = picture.read_bytes()
    picture.write_bytes(whole[:40])
    with pytest.raises(EvaluationError, match=r"00006/samples/0000\.png"):
        phases.judge(journal, oracle_models(asked.scenes))
    picture.unlink()
    with pytest.raises(EvaluationError, match=r"00006/samples/0000\.png was painted and is gone"):
        phases.judge(journal, oracle_models(asked.scenes))
    picture.write_bytes(whole)
    assert len(phases.judge(journal, oracle_models(asked.scenes))) == 12


def test_shards_share_the_pictures_and_each_judges_its_own(
    asked, context, painter_of, oracle_models, tmp_path
):
    rows = []
    for number in range(2):
        phases = Phases(context(shard=Shard(number, 2)), asked, 1, tmp_path)
        journal = Journal.open(tmp_path, {}, Shard(number, 2))
        system = painter_of()
        phases.paint(journal, system)
        rows.append(phases.judge(journal, oracle_models(asked.scenes)))
        assert system.num_requests == (8, 4)[number]  # 3 batches of 4
    assert rows[0] is None
    assert {row["state"] for row in rows[1]} == {"scored"}


def test_colors_are_classified_once_and_only_where_asked(scenes, oracle_models):
    models = oracle_models(scenes)
    pairs = scene_prompts(scenes, 12)
    pictures = [scene_picture(facts) for _, facts in pairs]
    judge_pictures(models, pictures, [prompt for prompt, _ in pairs])
    # one call for all: 2 prompts ask for one colour, 2 for two, and the others for none
    assert models.colors.num_classified == [6]


def test_prompts_beyond_the_models_vocabulary_are_refused(scenes, oracle_models):
    unknown = Prompt("colors", "a teal zebra", (Include("zebra", 1, "teal"),))
    with pytest.raises(EvaluationError, match=r"\['zebra'\].*\['teal'\]"):
        judge_pictures(oracle_models(scenes), [scene_picture(scenes[0])], [unknown])


def test_objects_survive_being_stored(scenes, oracle_models):
    pairs = scene_prompts(scenes, 12)
    pictures = [scene_picture(facts) for _, facts in pairs]
    for found in judge_pictures(oracle_models(scenes), pictures, [p for p, _ in pairs]):
        for one in found.objects:
            again = object_of_row(json.loads(json.dumps(object_row(one))))
            assert (again.name, again.score, again.box, again.color) == (
                one.name,
                one.score,
                tuple(one.box),
                one.color,
            )
