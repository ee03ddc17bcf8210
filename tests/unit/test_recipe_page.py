"""docs/recipes.md explains every key, under the heading of its section, and no key that is gone."""

import re
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest

from uae import recipe as recipes
from uae.recipe import Strict
from uae.recipe_files import recipe_names

PAGE = Path(__file__).parents[2] / "docs" / "recipes.md"
MODELS = {
    "recipe": recipes.Recipe,
    "models": recipes.ModelsRecipe,
    "data": recipes.DataRecipe,
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
    "gate": recipes.GateRecipe,
}


def sections() -> dict[str, dict[str, str]]:
    """Return heading -> key -> the row's text."""
    found: dict[str, dict[str, str]] = {}
    rows: dict[str, str] = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
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


@pytest.mark.parametrize("heading", MODELS)
def test_every_key_of_a_section_stands_in_its_table(heading):
    assert set(sections()[heading]) == keys_of(MODELS[heading])


def test_every_section_has_a_table():
    assert models_in(recipes.Recipe) <= set(MODELS.values())
    assert set(sections()) == set(MODELS)


@pytest.mark.parametrize("heading", MODELS)
def test_every_choice_is_named(heading):
    for key, row in sections()[heading].items():
        annotation = MODELS[heading].model_fields[key].annotation
        parts = [annotation, *get_args(annotation)]
        choices = [c for part in parts if get_origin(part) is Literal for c in get_args(part)]
        assert [choice for choice in choices if f"`{choice}`" not in row] == [], key


def test_links_lead_to_headings():
    text = PAGE.read_text(encoding="utf-8")
    anchors = {re.sub(r"[^\w -]", "", heading).replace(" ", "-") for heading in sections()}
    assert set(re.findall(r"\(#([^)]+)\)", text)) <= anchors


def test_every_shipped_recipe_is_listed():
    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in recipe_names() if f"| `{name}` |" not in text] == []
