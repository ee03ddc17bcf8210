"""Where image scorers lie, by their files alone: nothing is loaded, and torch is not imported."""

from collections.abc import Sequence
from pathlib import Path

from uae.errors import ModelError

CONFIG_FILE = "open_clip_config.json"
WEIGHTS_FILE = "open_clip_model.safetensors"


def scorer_folder(name_or_path: str, weights_root: Path) -> Path:
    """Return the folder that a scorer's name means: one under `scorers/`, or else any folder."""
    folder = weights_root / "scorers" / name_or_path
    return folder if folder.is_dir() else Path(name_or_path)


def find_scorer(name_or_path: str, weights_root: Path) -> Path:
    """Return the folder of an image encoder in open_clip's `local-dir` layout.

    Args:
        name_or_path: A name under `weights_root/scorers`, or else a folder.
        weights_root: The base weights' folder.

    Raises:
        ModelError: If there is no such folder or a file is missing, naming the scorers there are.
    """
    folder = scorer_folder(name_or_path, weights_root)
    if not folder.is_dir():
        raise no_scorer(name_or_path, weights_root, known_scorers(weights_root, CONFIG_FILE))
    for file in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / file).is_file():
            known = known_scorers(weights_root, CONFIG_FILE)
            raise ModelError(
                f"scorer {name_or_path!r}: {folder / file} does not exist; give a name among "
                f"{known} or a folder in open_clip's local-dir layout"
            )
    return folder


def known_scorers(weights_root: Path, *config_files: str) -> list[str]:
    """Return the names under `scorers/` of folders with one of these files, sorted."""
    found = (path for file in config_files for path in weights_root.glob(f"scorers/*/{file}"))
    return sorted({path.parent.name for path in found})


def no_scorer(name: str, weights_root: Path, known: Sequence[str]) -> ModelError:
    """Return the error for a name that is neither among the known ones nor a folder."""
    return ModelError(
        f"no scorer {name!r} in {weights_root / 'scorers'}; there are: {', '.join(known)}; "
        "give one of them, or an existing folder with a scorer of your own"
    )
