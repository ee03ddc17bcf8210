"""Where image scorers lie, by their files alone: nothing is loaded, and torch is not imported."""

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
    for file in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / file).is_file():
            known = sorted(f.parent.name for f in weights_root.glob(f"scorers/*/{CONFIG_FILE}"))
            raise ModelError(
                f"scorer {name_or_path!r}: {folder / file} does not exist; give a name among "
                f"{known} or a folder in open_clip's local-dir layout"
            )
    return folder
