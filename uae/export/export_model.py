"""Export: the model with its card, lineage and licences, in layouts that other tools read.

    README.md                 model card: scores, how to use, lineage, licences
    model.json                what the bundle is
    encoder/                  transformers: Qwen2_5_VLForConditionalGeneration.from_pretrained
    transformer/ vae/ scheduler/ model_index.json
                              diffusers: StableDiffusion3Pipeline.from_pretrained, without text
                              encoders: prompt_embeds come from the encoder through the connector
    caption_adapters/         peft; active only while captions are written
    connector/ pooled_projection.safetensors
    lineage.json gate.json recipe.yaml LICENSES/

Weights are copied as they were evaluated, to the bit.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from uae.data.starter.vocabulary import ARTWORK_FOLDER, STARTER_WEIGHTS
from uae.errors import DataError, ModelError
from uae.export.gate import Decision
from uae.export.model_card import render_card
from uae.export.registry import Champion, ChampionIdentity, promote_if_current, read_history
from uae.export.scores import UnifiedBenchScores, read_task_scores, read_unified_bench
from uae.fingerprints import file_sha256, folder_sha256, json_sha256
from uae.recipe import Recipe
from uae.recipe_files import dump_recipe
from uae.replacement import replaced_atomically
from uae.store.folders import MANIFEST

if TYPE_CHECKING:
    from uae.store.s3 import Store

MODELS_PREFIX = "models"
MODEL_INDEX = {
    "_class_name": "StableDiffusion3Pipeline",
    "transformer": ["diffusers", "SD3Transformer2DModel"],
    "vae": ["diffusers", "AutoencoderKL"],
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
} | {
    name: [None, None]
    for name in (
        "text_encoder", "text_encoder_2", "text_encoder_3", "tokenizer", "tokenizer_2",
        "tokenizer_3", "image_encoder", "feature_extractor",
    )
}  # fmt: skip


class Lineage(BaseModel):
    """Where a model comes from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    run_id: str
    recipe_name: str
    recipe_sha256: str
    seed: int
    base: str  # the recipe's models.base
    bundle_sha256: str  # of the trained bundle
    data_source: str
    data_revision: str
    data_licences: dict[str, int]  # licence -> pictures
    parent: str | None  # run_id of the champion that the gate compared with
    code_version: str


@dataclass(frozen=True)
class Publication:
    """Where the exported model lies in the store, and whether it became the champion."""

    prefix: str
    promoted: bool
    refusal: str | None = None  # why it did not although it should


def export_model(
    recipe: Recipe,
    *,
    run_id: str,
    model: Path,
    data: Path,
    unified_bench: Path,
    geneval: Path | None,
    dpg_bench: Path | None,
    decision: Decision,
    out: Path,
    base_licences: Path | None = None,
) -> Lineage:
    """Write the exported model to `out`.

    Args:
        recipe: The run's settled recipe.
        run_id: The run.
        model: Bundle of the last trained stage.
        data: Validated data set; its `data.json` is read.
        unified_bench: Folder with the model's Unified-Bench results.
        geneval: Folder with its GenEval results, if any.
        dpg_bench: Folder with its DPG-Bench results, if any.
        decision: What the gate said, and of which champion.
        out: New folder for the export; it appears only when it is complete.
        base_licences: Folder with the base's licences, where the base is not on this machine.

    Raises:
        DataError: If a result or data.json is missing or not valid.
        ModelError: If the bundle has no model.json.
    """
    if not (model / "model.json").is_file():
        raise ModelError(f"nothing to export: {model} is no model bundle, it has no model.json")
    bundle: dict[str, Any] = json.loads((model / "model.json").read_text(encoding="utf-8"))
    parent = decision.champion.run_id if decision.champion else None
    lineage = _lineage(recipe, run_id, model, data, parent)
    card = render_card(
        lineage=lineage,
        bundle=bundle,
        scores=read_unified_bench(unified_bench),
        tasks={
            name: read_task_scores(folder)
            for name, folder in (("GenEval", geneval), ("DPG-Bench", dpg_bench))
            if folder is not None
        },
        decision=decision,
    )
    with replaced_atomically(out) as folder:
        shutil.copytree(model, folder, dirs_exist_ok=True)
        (folder / "README.md").write_text(card, encoding="utf-8")
        (folder / "recipe.yaml").write_text(dump_recipe(recipe), encoding="utf-8")
        _write_json(folder / "lineage.json", lineage.model_dump(mode="json"))
        _write_json(folder / "model_index.json", MODEL_INDEX)
        decision.write(folder)
        _copy_licences(recipe, lineage, folder / "LICENSES", base_licences)
    return lineage


def publish(
    store: Store,
    exported: Path,
    lineage: Lineage,
    *,
    unified_bench: UnifiedBenchScores,
    opponent: ChampionIdentity | None,
    promoted: bool,
) -> Publication:
    """Push an exported model to `models/<run_id>` and, if `promoted`, make it the champion.

    May be repeated: a push or promotion that was cut off is completed.

    Args:
        store: The bucket.
        exported: Folder of the exported model.
        lineage: Its lineage.
        unified_bench: Its scores, with which the next candidate is compared.
        opponent: The champion that the gate compared with. Another one is never replaced.
        promoted: Whether the model is to become the champion.

    Raises:
        ModelError: If another model of this run was promoted: its weights stay as they are.
        StoreError: If the store fails.
    """
    prefix = f"{MODELS_PREFIX}/{lineage.run_id}"
    if not _is_promoted_already(store, prefix, lineage):
        store.put_folder(exported, prefix)
    if not promoted:
        return Publication(prefix, promoted=False)
    refusal = promote_if_current(store, _champion(prefix, lineage, unified_bench), opponent)
    return Publication(prefix, promoted=refusal is None, refusal=refusal)


def _is_promoted_already(store: Store, prefix: str, lineage: Lineage) -> bool:
    """Return whether the registry names this very model, whole in its place."""
    named = any(entry.model_prefix == prefix for entry in read_history(store))
    if not named or not store.exists(f"{prefix}/{MANIFEST}"):
        return False
    there = Lineage.model_validate(store.get_json(f"{prefix}/lineage.json"))
    if there.bundle_sha256 != lineage.bundle_sha256:
        raise ModelError(
            f"run {lineage.run_id} was promoted with other weights ({there.bundle_sha256[:12]}, "
            f"now {lineage.bundle_sha256[:12]}): the registry's stay; submit under another run_id"
        )
    return True


def _champion(prefix: str, lineage: Lineage, unified_bench: UnifiedBenchScores) -> Champion:
    return Champion(
        run_id=lineage.run_id,
        model_prefix=prefix,
        promoted_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        recipe_name=lineage.recipe_name,
        recipe_sha256=lineage.recipe_sha256,
        data_revision=lineage.data_revision,
        code_version=lineage.code_version,
        parent=lineage.parent,
        unified_bench=unified_bench,
    )


def _lineage(recipe: Recipe, run_id: str, model: Path, data: Path, parent: str | None) -> Lineage:
    path = data / "data.json"
    if not path.is_file():
        raise DataError(f"{data} is no validated data set: it has no data.json")
    facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return Lineage(
        run_id=run_id,
        recipe_name=recipe.name,
        recipe_sha256=json_sha256(recipe.model_dump(mode="json")),
        seed=recipe.seed,
        base=recipe.models.base,
        bundle_sha256=folder_sha256(model),
        data_source=facts["source"],
        data_revision=facts["revision"],
        data_licences=facts["licences"],
        parent=parent,
        code_version=version("uae"),
    )


def _copy_licences(recipe: Recipe, lineage: Lineage, folder: Path, fetched: Path | None) -> None:
    """Keep the licences of what the weights were made from beside them.

    A base that is itself an exported model has them in a folder LICENSES of its own.
    """
    folder.mkdir(exist_ok=True)
    if "starter" in (recipe.models.base, lineage.data_source):
        shutil.copy(ARTWORK_FOLDER / "LICENSE", folder / "fluent-emoji-flat-MIT.txt")
    given = STARTER_WEIGHTS if recipe.models.base == "starter" else Path(recipe.models.base)
    base = fetched or given
    names = {path: f"base-{path.name}" for path in sorted(base.glob("LICEN[CS]E*"))}
    names |= {path: path.name for path in sorted((base / "LICENSES").rglob("*"))}
    for path, name in names.items():
        if path.is_file():
            _copy_beside(path, folder, name)


def _copy_beside(path: Path, folder: Path, name: str) -> None:
    """Copy a file into the folder; a file of that name with another content stays."""
    while (folder / name).is_file():
        if file_sha256(folder / name) == file_sha256(path):
            return
        name = f"base-{name}"
    shutil.copy(path, folder / name)


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
