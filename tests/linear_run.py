"""A linear regression that runs like a stage, for tests of the engine alone."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from uae.recipe import Recipe
from uae.recipe_files import load_recipe
from uae.seeds import make_generator
from uae.training.checkpoint import Checkpoints
from uae.training.loop import Run


def make_recipe(num_updates=8, checkpoint_every=3, early_stopping=None, **optimizer) -> Recipe:
    values = load_recipe("starter").model_dump()
    section = values["generation_for_understanding"]
    section |= {
        "num_updates": num_updates,
        "checkpoint_every": checkpoint_every,
        "batch_size": 4,
        "early_stopping": early_stopping,
    }
    section["optimizer"] |= {"learning_rate": 0.05, "warmup_updates": 2} | optimizer
    return Recipe.model_validate(values)


def train_linear(
    recipe: Recipe,
    *,
    checkpoints: Checkpoints | None = None,
    log_dir: Path | None = None,
    after_update: Callable[[int], None] = lambda _: None,
    measure: Callable[[], dict[str, float]] | None = None,
    inputs: dict[str, str] | None = None,
) -> tuple[dict[str, torch.Tensor], dict[str, float], list[list[float]]]:
    """Return the final weights, the summary, and what every update saw."""
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    seen = []
    run = Run(
        "generation_for_understanding",
        recipe,
        dict(model.named_parameters()),
        inputs=inputs or {"data": "d"},
        measure=measure,
        checkpoints=checkpoints,
        log_dir=log_dir,
    )
    with run:
        for step in run.steps():
            x = torch.randn(4, 3, generator=make_generator(recipe.seed, "toy", step))
            seen.append(x.flatten().tolist())
            loss = ((model(x) - x.sum(dim=1, keepdim=True)) ** 2).mean()
            metrics = {"loss": run.optimizer.backward(loss)}
            metrics |= run.optimizer.step(step) or {}
            after_update(step)
            run.record(metrics, num_images=4)
    summary = run.finish()
    return {k: v.detach().clone() for k, v in model.state_dict().items()}, summary, seen
