"""Recipes: every shipped one is whole, and what is wrong is named by key, value and line."""

import pytest

from uae.errors import RecipeError
from uae.recipe import Recipe
from uae.recipe_files import RECIPES_FOLDER, dump_recipe, load_recipe, parse_recipe, recipe_names

STARTER = (RECIPES_FOLDER / "starter.yaml").read_text(encoding="utf-8")
GFU, UFG = "generation_for_understanding", "understanding_for_generation"


def changed(before: str, after: str) -> str:
    assert before in STARTER
    return STARTER.replace(before, after, 1)


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipe_survives_writing_and_reading(name):
    recipe = load_recipe(name)
    assert parse_recipe(dump_recipe(recipe)) == recipe
    assert Recipe.model_validate(recipe.model_dump()) == recipe
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe


@pytest.mark.parametrize("number", ["1e-4", "1.0e-4", "1E-4", "0.0001"])
def test_numbers_with_exponents_are_numbers(number):
    recipe = parse_recipe(changed("learning_rate: 1.0e-4", f"learning_rate: {number}"))
    assert recipe.pretrain_decoder.optimizer.learning_rate == 1e-4


def test_whole_numbers_are_numbers():
    recipe = parse_recipe(changed("logit_mean: 0.0", "logit_mean: 1"))
    assert recipe.pretrain_decoder.logit_mean == 1.0


def test_name_that_looks_like_a_number_is_written_in_quotes():
    recipe = parse_recipe(changed("name: starter", 'name: "1e-4"'))
    assert parse_recipe(dump_recipe(recipe)).name == "1e-4"


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("batch_size: 64", "batch_size: true", r"batch_size: .*integer, got True"),
        ("batch_size: 64", "batch_size: 64.0", r"batch_size: .*integer, got 64\.0"),
        ("batch_size: 64", 'batch_size: "64"', r"batch_size: .*integer, got '64'"),
        ("learning_rate: 1.0e-4", "learning_rate: yes", "learning_rate: .*number, got True"),
        ("betas: [0.9, 0.999]", "betas: [true, 0.999]", r"betas\.0: .*number, got True"),
        ("scale_by_std: true", "scale_by_std: 1", "scale_by_std: .*boolean, got 1"),
        ("name: starter", "name: 7", "name: .*string, got 7"),
        ("logit_std: 1.0", "logit_std: .inf", "logit_std: .*finite"),
        ("seed: 0", "seeds: 0", "seed: missing"),
        ("seed: 0", "seeds: 0", "seeds: unknown key .value 0.; .* allowed: name, seed, models"),
        ("betas: [0.9, 0.999]", "betas: [0.9, 1.0]", r"betas\.1: .*less than 1, got 1\.0"),
        ("clip_range: 1.1e-3", "clip_range: -1", rf"{UFG}\.objective\.clip_range: .*greater"),
        (
            "clip_range: 1.1e-3",
            "clip: 1.1e-3",
            rf"{UFG}\.objective\.clip: .*: kind, clip_range, kl_weight, max_advantage$",
        ),
        (
            "kind: flow_grpo",
            "kind: grpo",
            rf"{UFG}\.objective: .*'grpo' .*'flow_grpo', 'grpo_guard'",
        ),
        ("captions: greedy", "captions: gredy", rf"{UFG}\.captions: .*'greedy', got 'gredy'"),
        (
            "captions: greedy",
            "captions: gredy",
            rf"{UFG}\.captions: must be a section with group_size, max_new_.*, got 'gredy'",
        ),
        ("lora: {rank: 16, alpha: 32}", "lora: 3", "lora: must be a section with rank, alpha, got"),
        (
            "float32\n  scorer_dtype: float32\n  recompute_blocks: false\n  sharding: replicated",
            "bfloat16\n  scorer_dtype: float32\n  recompute_blocks: false\n"
            "  sharding: {frozen: sharded, compute: float32}",
            r"models: .*compute in the type that they are kept in; give both the same",
        ),
    ],
)
def test_wrong_value_is_named_and_not_converted(before, after, says):
    with pytest.raises(RecipeError, match=says):
        parse_recipe(changed(before, after))


def test_fault_in_a_section_that_may_be_a_word_is_told_once():
    section = "captions: {group_size: 1, max_new_tokens: 8, temperature: 1.0}"
    with pytest.raises(RecipeError) as caught:
        parse_recipe(changed("captions: greedy", section))
    _, fault = str(caught.value).splitlines()
    assert fault.startswith(f"  {UFG}.captions.group_size: Input should be greater")


def test_key_that_stands_twice_is_named_with_both_lines():
    text = changed("seed: 0\n", "seed: 0\nseed: 1\n")
    line = text.splitlines().index("seed: 1") + 1
    with pytest.raises(RecipeError, match=f"seed: in line {line}, and in line {line - 1} before"):
        parse_recipe(text, source="mine.yaml")


def test_key_that_stands_twice_in_a_section_is_named_by_its_path():
    twice = changed("temperature: 1.0}", "temperature: 1.0, group_size: 8}")
    with pytest.raises(RecipeError, match=rf"{GFU}\.rollout\.group_size: in line \d+, and in"):
        parse_recipe(twice)


@pytest.mark.parametrize("stage", ["pretrain_decoder", "cold_start"])
def test_stages_without_rollouts_have_one_minibatch(stage):
    values = load_recipe("starter").model_dump()
    values[stage]["num_minibatches"] = 2
    with pytest.raises(ValueError, match="must be 1 where there is no rollout"):
        Recipe.model_validate(values)
    values[stage]["num_minibatches"] = 1
    values[GFU]["num_minibatches"] = values[UFG]["num_minibatches"] = 2
    assert Recipe.model_validate(values)


def test_drawings_have_no_guards():
    scorer = "rewards: {scorer: clip}"
    with pytest.raises(RecipeError, match=rf"{UFG}\.rewards\.repetition: unknown key"):
        parse_recipe(changed(scorer, "rewards: {scorer: clip, repetition: {weight: 0.1}}"))


@pytest.mark.parametrize("text", ["", "- 1", "just text"])
def test_text_that_is_no_mapping_is_refused(text):
    with pytest.raises(RecipeError, match="must be a mapping"):
        parse_recipe(text)
