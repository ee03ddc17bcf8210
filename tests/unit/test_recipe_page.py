"""The pages on recipes explain every key, under its section's heading, and no key that is gone."""

import re
from functools import cache
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest

from uae import recipe as recipes
from uae.recipe import Strict
from uae.recipe.pairwise import PairwiseRecipe
from uae.recipe_files import recipe_names

DOCS = Path(__file__).parents[2] / "docs"
RECIPES = {
    "recipe": recipes.Recipe,
    "models": recipes.ModelsRecipe,
    "sharding": recipes.ShardingRecipe,
    "data": recipes.DataRecipe,
    "streaming": recipes.StreamingRecipe,
    "faults": recipes.FaultsRecipe,
    "every trained stage": recipes.TrainedStage,
    "optimizer": recipes.OptimizerRecipe,
    "lora": recipes.LoraRecipe,
    "pretrain_decoder": recipes.PretrainDecoderRecipe,
    "cold_start": recipes.ColdStartRecipe,
    "generation_for_understanding": recipes.GenerationForUnderstandingRecipe,
    "understanding_for_generation": recipes.UnderstandingForGenerationRecipe,
    "rollout of captions": recipes.CaptionRolloutRecipe,
    "rollout of pictures": recipes.ImageRolloutRecipe,
    "sampler": recipes.SamplerRecipe,
    "rewards of captions": recipes.RewardsRecipe,
    "rewards.length": recipes.LengthGuard,
    "rewards.transcription": recipes.TranscriptionGuard,
    "rewards.repetition": recipes.WeightedGuard,
    "rewards of drawings": recipes.DrawingRewardsRecipe,
    "objective for captions": recipes.CaptionGrpoRecipe,
    "objective: flow_grpo": recipes.FlowGrpoRecipe,
    "objective: grpo_guard": recipes.GrpoGuardRecipe,
    "objective: diffusion_nft": recipes.DiffusionNftRecipe,
    "early_stopping": recipes.EarlyStoppingRecipe,
    "evaluation": recipes.EvaluationRecipe,
    "unified_bench": recipes.UnifiedBenchRecipe,
    "geneval": recipes.GenevalRecipe,
    "dpg_bench": recipes.DpgBenchRecipe,
    "prompt file": recipes.PromptFile,
    "judge: starter": recipes.StarterJudgeRecipe,
    "judge: vlm": recipes.VlmJudgeRecipe,
    "judge: blip_vqa": recipes.BlipJudgeRecipe,
    "judge: server": recipes.ServerJudgeRecipe,
    "server": recipes.ServerRecipe,
    "gate": recipes.GateRecipe,
}
SYSTEMS = {
    "suite": recipes.SuiteRecipe,
    "benchmarks": recipes.Benchmarks,
    "geneval_plus": recipes.GenevalPlusRecipe,
    "geneval_2": recipes.Geneval2Recipe,
    "text_fidelity": recipes.TextFidelityRecipe,
    "pairwise": PairwiseRecipe,
    "system: uae": recipes.UaeSystemRecipe,
    "system: janus": recipes.JanusSystemRecipe,
    "system: emu3": recipes.Emu3SystemRecipe,
    "system: chameleon": recipes.ChameleonSystemRecipe,
    "system: composed": recipes.ComposedSystemRecipe,
    "system: server": recipes.ServerSystemRecipe,
    "system: folder": recipes.FolderSystemRecipe,
    "captioning": recipes.CaptioningRecipe,
}
TABLES = [("recipes.md", name) for name in RECIPES] + [("systems.md", name) for name in SYSTEMS]
MODELS = {"recipes.md": RECIPES, "systems.md": SYSTEMS}


@cache
def sections(page: str) -> dict[str, dict[str, str]]:
    """Return heading -> key -> the row's text."""
    found: dict[str, dict[str, str]] = {}
    rows: dict[str, str] = {}
    for line in (DOCS / page).read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            rows = found.setdefault(line.removeprefix("## "), {})
        elif key := re.match(r"\| `(\w+)` \| (.*)", line):
            assert key[1] not in rows, f"{key[1]} stands twice"
            rows[key[1]] = key[2]
    return found


def keys_of(model: type[Strict]) -> set[str]:
    keys = set(model.model_fields)
    is_stage = issubclass(model, recipes.TrainedStage) and model is not recipes.TrainedStage
    return keys - set(recipes.TrainedStage.model_fields) if is_stage else keys


def models_in(annotation: object) -> set[type[Strict]]:
    """Return the recipe sections that a type mentions, with all that they mention."""
    if isinstance(annotation, type) and issubclass(annotation, Strict):
        inside = (models_in(field.annotation) for field in annotation.model_fields.values())
        return {annotation}.union(*inside)
    return set().union(*(models_in(argument) for argument in get_args(annotation)))


@pytest.mark.parametrize(("page", "heading"), TABLES)
def test_every_key_of_a_section_stands_in_its_table(page, heading):
    assert set(sections(page)[heading]) == keys_of(MODELS[page][heading])


def test_every_section_has_a_table():
    assert models_in(recipes.Recipe) <= set(RECIPES.values())
    others = {*models_in(recipes.SuiteRecipe), *models_in(recipes.SystemRecipe)}
    assert others <= {*RECIPES.values(), *SYSTEMS.values()}
    assert {page: set(sections(page)) for page in MODELS} == {
        page: set(models) for page, models in MODELS.items()
    }


@pytest.mark.parametrize(("page", "heading"), TABLES)
def test_every_choice_is_named(page, heading):
    for key, row in sections(page)[heading].items():
        annotation = MODELS[page][heading].model_fields[key].annotation
        parts = [annotation, *get_args(annotation)]
        choices = [c for part in parts if get_origin(part) is Literal for c in get_args(part)]
        assert [choice for choice in choices if f"`{choice}`" not in row] == [], key


@pytest.mark.parametrize("page", MODELS)
def test_links_lead_to_headings(page):
    text = (DOCS / page).read_text(encoding="utf-8")
    assert set(re.findall(r"\(#([^)]+)\)", text)) <= anchors(page)
    assert set(re.findall(r"\(recipes\.md#([^)]+)\)", text)) <= anchors("recipes.md")


def anchors(page):
    return {re.sub(r"[^\w -]", "", heading).replace(" ", "-") for heading in sections(page)}


def test_every_shipped_recipe_is_listed():
    text = (DOCS / "recipes.md").read_text(encoding="utf-8")
    assert [name for name in recipe_names() if f"| `{name}` |" not in text] == []
