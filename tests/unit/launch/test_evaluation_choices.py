import json

import pytest

from uae.errors import EvaluationError, RecipeError
from uae.evaluation.dpg_bench.prompts import COLUMNS
from uae.launch.evaluation_choices import with_evaluation, with_prompt_hashes
from uae.launch.validation import settle_recipe
from uae.recipe_files import load_recipe

PROMPT = {"tag": "single_object", "include": [{"class": "bench", "count": 1}], "prompt": "a bench"}


@pytest.fixture
def recipe():
    return load_recipe("starter")


def official(path, **more):
    prompts = {"source": str(path), "sha256": None}
    return {"geneval": {"prompts": prompts, "num_prompts": None, "vocabulary": "official"} | more}


def test_keys_of_a_benchmark_are_replaced_one_by_one(recipe):
    changes = {
        "geneval": {"num_prompts": 12},
        "batch_size": 8,
        "dpg_bench": {"protocol": "official"},
    }
    changed = with_evaluation(recipe, changes).evaluation
    assert (changed.geneval.num_prompts, changed.batch_size) == (12, 8)
    assert changed.geneval.images_per_prompt == recipe.evaluation.geneval.images_per_prompt
    assert changed.dpg_bench.protocol == "official"
    assert with_evaluation(recipe, {}) is recipe


def test_a_judge_is_replaced_as_a_whole(recipe):
    judge = {"kind": "blip_vqa", "path": "blip", "dtype": "float32"}
    changed = with_evaluation(recipe, {"dpg_bench": {"judge": judge}})
    assert changed.evaluation.dpg_bench.judge.kind == "blip_vqa"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"genevall": {}}, r"evaluation\.genevall: unknown key"),
        ({"geneval": {"prompt": 3}}, r"evaluation\.geneval\.prompt: unknown key"),
        ({"batch_size": 0}, r"evaluation\.batch_size: .*greater than 0, got 0"),
    ],
)
def test_wrong_choices_are_named(recipe, changes, says):
    with pytest.raises(RecipeError, match=says):
        with_evaluation(recipe, changes)


def test_the_hash_of_a_prompt_file_is_settled_so_that_a_resume_asks_the_same(recipe, tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text(json.dumps(PROMPT))
    changed = with_evaluation(recipe, official(path))
    settled = with_prompt_hashes(changed, "http://127.0.0.1:1")
    assert len(settled.evaluation.geneval.prompts.sha256) == 64
    assert with_prompt_hashes(settled, "http://127.0.0.1:1") == settled
    path.write_text(json.dumps(PROMPT | {"prompt": "one bench"}))
    with pytest.raises(EvaluationError, match="another version of the prompts"):
        with_prompt_hashes(settled, "http://127.0.0.1:1")


def test_a_prompt_that_cannot_be_asked_is_refused_before_anything_is_trained(recipe, tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text(json.dumps(PROMPT | {"include": [{"class": "dragon", "count": 1}]}))
    with pytest.raises(EvaluationError, match=r"prompts\.jsonl:1: .*unknown class 'dragon'"):
        with_prompt_hashes(with_evaluation(recipe, official(path)), "http://127.0.0.1:1")
    table = tmp_path / "dpg.csv"
    table.write_text("item_id,text\n1,a\n")
    changes = {"dpg_bench": {"prompts": {"source": str(table), "sha256": None}}}
    with pytest.raises(EvaluationError, match=r"dpg\.csv"):
        with_prompt_hashes(with_evaluation(recipe, changes), "http://127.0.0.1:1")


OTHER = PROMPT | {"include": [{"class": "clock", "count": 1}], "prompt": "a clock"}
ADDRESS = "http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("longer", "says"),
    [
        ("a long bench", r"longer\.txt holds 1 lines for 2 prompts"),
        ("a long bench\n\nx", "holds 3 lines for 2 prompts"),
        (json.dumps(PROMPT) + "\n" + json.dumps(PROMPT), r"longer\.txt:2: .*another prompt"),
    ],
)
def test_rewritten_texts_are_compared_with_their_prompts(recipe, tmp_path, longer, says):
    path, rewritten = tmp_path / "prompts.jsonl", tmp_path / "longer.txt"
    path.write_text(json.dumps(PROMPT) + "\n" + json.dumps(OTHER))
    more = {"rewritten": {"source": str(rewritten), "sha256": None}}
    changed = with_evaluation(recipe, official(path, **more))
    rewritten.write_text("a long bench\na round clock")
    assert len(with_prompt_hashes(changed, ADDRESS).evaluation.geneval.rewritten.sha256) == 64
    rewritten.write_text(longer)
    with pytest.raises(EvaluationError, match=says):
        with_prompt_hashes(changed, ADDRESS)


def test_texts_for_prompts_from_scenes_are_refused(recipe, tmp_path):
    (tmp_path / "longer.txt").write_text("a long bench")
    rewritten = {"source": str(tmp_path / "longer.txt"), "sha256": None}
    changed = with_evaluation(recipe, {"geneval": {"rewritten": rewritten}})
    with pytest.raises(EvaluationError, match="are not rewritten"):
        with_prompt_hashes(changed, ADDRESS)


def test_more_prompts_than_a_file_holds_are_refused(recipe, tmp_path):
    path, table = tmp_path / "prompts.jsonl", tmp_path / "dpg.csv"
    path.write_text(json.dumps(PROMPT))
    assert with_prompt_hashes(with_evaluation(recipe, official(path, num_prompts=1)), ADDRESS)
    with pytest.raises(EvaluationError, match=r"num_prompts is 2, but prompts\.jsonl holds 1"):
        with_prompt_hashes(with_evaluation(recipe, official(path, num_prompts=2)), ADDRESS)
    table.write_text(f"{','.join(COLUMNS)}\ni,a bench,,1,0,entity,whole,entity (bench),A bench?\n")
    prompts = {"source": str(table), "sha256": None}
    changed = [
        with_evaluation(recipe, {"dpg_bench": {"prompts": prompts, "num_prompts": count}})
        for count in (1, 2)
    ]
    assert len(with_prompt_hashes(changed[0], ADDRESS).evaluation.dpg_bench.prompts.sha256) == 64
    with pytest.raises(EvaluationError, match=r"num_prompts is 2, but dpg\.csv holds 1"):
        with_prompt_hashes(changed[1], ADDRESS)


def test_prompt_files_are_found_by_steps_that_run_elsewhere(tmp_path, monkeypatch):
    (tmp_path / "prompts.jsonl").write_text(json.dumps(PROMPT))
    monkeypatch.chdir(tmp_path)
    settled = settle_recipe("starter", evaluation=official("prompts.jsonl"))
    assert settled.evaluation.geneval.prompts.source == str(tmp_path / "prompts.jsonl")
    there = settle_recipe("starter", evaluation=official("s3://bucket/prompts.jsonl"))
    assert there.evaluation.geneval.prompts.source == "s3://bucket/prompts.jsonl"
