"""Where the sizes of a recipe's models are read from: configurations, never weights.

A recipe's base is a bundle where there is one; else it may be a published model whose configuration
is shipped, so that a run can be planned before its weights are fetched. No torch here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uae.errors import ModelError
from uae.models.bundle import STARTER_WEIGHTS, BundleInfo

PUBLISHED = Path(__file__).parents[1] / "assets" / "published"
_SCORERS = "scorers"
_SCORER_CONFIG = "open_clip_config.json"


@dataclass(frozen=True)
class ModelConfigs:
    """The configurations of a bundle, and where its scorers are."""

    folder: Path
    info: BundleInfo
    is_published: bool  # from the shipped configurations, without weights

    def read(self, name: str) -> dict[str, Any]:
        """Return a configuration file's content.

        Raises:
            ModelError: If it is missing or not JSON.
        """
        return _read_json(self.folder / name)

    @property
    def tokenizer_folder(self) -> Path | None:
        """Where the tokenizer is; None for a published configuration, which has none."""
        folder = self.folder / "encoder"
        return folder if (folder / "tokenizer.json").is_file() else None

    def scorer(self, name_or_path: str) -> dict[str, Any]:
        """Return a scorer's configuration, by name or folder.

        Raises:
            ModelError: If there is none, naming those that there are.
        """
        root = self.folder.parent
        candidates = (root / _SCORERS / name_or_path, Path(name_or_path))
        for folder in candidates:
            if (folder / _SCORER_CONFIG).is_file():
                return _read_json(folder / _SCORER_CONFIG)
        known = sorted(path.parent.name for path in root.glob(f"{_SCORERS}/*/{_SCORER_CONFIG}"))
        raise ModelError(
            f"no configuration of scorer {name_or_path!r} in {root / _SCORERS}; there are: "
            f"{', '.join(known) or 'none'}; give one of them, or a folder with {_SCORER_CONFIG}"
        )


def find_configs(base: str) -> ModelConfigs:
    """Return the configurations that a recipe's `models.base` means.

    Raises:
        ModelError: If it is neither a bundle nor the name of a published model.
    """
    folder = STARTER_WEIGHTS / "autoencoder" if base == "starter" else Path(base)
    if (folder / "model.json").is_file():
        return ModelConfigs(folder, _info(folder), is_published=False)
    published = PUBLISHED / folder.name
    if (published / "model.json").is_file():
        return ModelConfigs(published, _info(published), is_published=True)
    known = sorted(path.parent.name for path in PUBLISHED.glob("*/model.json"))
    raise ModelError(
        f"models.base {base!r}: no model bundle there, and no published configuration of the name "
        f"{folder.name!r}; give a bundle's folder, or one of {', '.join(known)}"
    )


def _info(folder: Path) -> BundleInfo:
    return BundleInfo.model_validate(_read_json(folder / "model.json"))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from error
    return found
