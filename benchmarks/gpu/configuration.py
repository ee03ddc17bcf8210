"""What is measured: a recipe of a published model, whole, or shrunk to a dry run's size."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uae.errors import ModelError
from uae.planning.configs import PUBLISHED
from uae.recipe import Recipe

Values = dict[str, Any]

_SUPERVISED: Values = {"batch_size": 2, "accumulation_steps": 2}
_LORA: Values = {"rank": 2, "alpha": 4.0}
_DRY_RECIPE: Values = {
    "models": {"num_threads": 1},
    "data": {"image_size": 32, "min_side_pixels": 16},
    "pretrain_decoder": _SUPERVISED | {"lora": _LORA},
    "cold_start": _SUPERVISED
    | {"encoder_lora": _LORA, "decoder_lora": _LORA, "num_sampling_steps": 2, "max_new_tokens": 6},
    "generation_for_understanding": _SUPERVISED
    | {
        "lora": _LORA,
        "rollout": {"group_size": 2, "max_new_tokens": 6},
        "sampler": {"num_steps": 2},
        "rewards": {"transcription": {"truth": "facts"}},
    },
    "understanding_for_generation": _SUPERVISED
    | {
        "lora": _LORA,
        "rollout": {"group_size": 2, "num_steps": 4, "window_size": 2, "window_start_max": 1},
        "max_new_tokens": 6,
    },
}
_DRY_FILES: Values = {
    "model.json": {"condition_tokens": 48, "image_size": 32},
    "encoder/config.json": {
        "text_config": {
            "vocab_size": 2000,
            "bos_token_id": None,
            "eos_token_id": None,
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "max_window_layers": 2,
            "max_position_embeddings": 512,
            "rope_parameters": {"mrope_section": [4, 6, 6]},
        },
        "vision_config": {
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "out_hidden_size": 64,
            "fullatt_block_indexes": [1],
        },
    },
    "connector/config.json": {"in_features": 64, "hidden_features": 96, "out_features": 64},
    "transformer/config.json": {
        "sample_size": 16,
        "num_layers": 2,
        "attention_head_dim": 16,
        "num_attention_heads": 2,
        "joint_attention_dim": 64,
        "caption_projection_dim": 32,
        "pooled_projection_dim": 32,
        "pos_embed_max_size": 16,
    },
    "vae/config.json": {"block_out_channels": [32, 32, 32, 32], "layers_per_block": 1},
}
_DRY_SCORER: Values = {
    "model_cfg": {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 28, "layers": 1, "width": 64, "patch_size": 14},
        "text_cfg": {
            "context_length": 8,
            "vocab_size": 64,
            "width": 16,
            "heads": 2,
            "layers": 1,
        },
    }
}


@dataclass(frozen=True)
class Files:
    """Configurations: the bundle's by their place in it, the scorers' by name."""

    bundle: dict[str, Values]
    scorers: dict[str, Values]


def published_files(recipe: Recipe) -> Files:
    """Return the configurations of the published model that a recipe starts from.

    Raises:
        ModelError: If none of that name is shipped.
    """
    folder = PUBLISHED / Path(recipe.models.base).name
    if not (folder / "model.json").is_file():
        known = sorted(path.parent.name for path in PUBLISHED.glob("*/model.json"))
        raise ModelError(
            f"models.base {recipe.models.base!r} of recipe {recipe.name!r}: the configuration of "
            f"{folder.name!r} is not shipped; take a recipe on {', '.join(known)}"
        )
    bundle = {path.relative_to(folder).as_posix(): _read(path) for path in folder.rglob("*.json")}
    configs = (PUBLISHED / "scorers").glob("*/open_clip_config.json")
    return Files(bundle, {path.parent.name: _read(path) for path in configs})


def dry_files(files: Files) -> Files:
    """Return the same classes' configurations, a few thousand times smaller."""
    bundle = {
        name: _merged(found, _DRY_FILES.get(name, {})) for name, found in files.bundle.items()
    }
    return Files(bundle, {n: _merged(found, _DRY_SCORER) for n, found in files.scorers.items()})


def dry_recipe(recipe: Recipe) -> Recipe:
    """Return the recipe with pictures, batches and captions of a dry run."""
    return Recipe.model_validate(_merged(recipe.model_dump(mode="json"), _DRY_RECIPE))


def on_bundle(recipe: Recipe, bundle: Path) -> Recipe:
    """Return the recipe on the weights that were made for it, which nobody licensed."""
    models = {"base": str(bundle), "manifest": None}
    return Recipe.model_validate(_merged(recipe.model_dump(mode="json"), {"models": models}))


def shortened(recipe: Recipe, stages: Iterable[str], num_updates: int) -> Recipe:
    """Return the recipe with few updates and without what comes between them.

    The check of the first ratio is left out as well, not its measurement: how far bfloat16's ratios
    are from 1 with random weights is a result, and no reason to stop.
    """
    changes: Values = {"num_updates": num_updates, "checkpoint_every": num_updates}
    sections: Values = {}
    for stage in stages:
        section = getattr(recipe, stage)
        optional: Values = {"early_stopping": None, "ratio_tolerance": float("inf")}
        given = {key: value for key, value in optional.items() if hasattr(section, key)}
        sections[stage] = section.model_copy(update=changes | given)
    return recipe.model_copy(update=sections)


def _read(path: Path) -> Values:
    found: Values = json.loads(path.read_text("utf-8"))
    return found


def _merged(values: Values, changes: Values) -> Values:
    merged = dict(values)
    for key, change in changes.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(change, dict):
            change = _merged(old, change)
        merged[key] = change
    return merged
